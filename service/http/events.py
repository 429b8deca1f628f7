"""A request's answer as it comes about: server-sent events, from its place in the queue to its images.

    queued → progress, preview … → completed, once per image; or failed: of all that is missing, or of one image of many

How each is put is a `Teller`'s affair. Ours is `Telling`: what each event holds is `schemas.STREAM` or
`batch_schemas.BATCH_STREAM`, of which the documentation and the bytes are made.

Nothing is queued up for a reader: each time that it is ready for more it gets the newest state, so a
slow one misses steps, and never an end. The worker waits for nobody.

Knows the books' jobs, and no worker. Reference: HTML Living Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from dit_serve.service.errors import NotReady, Problem, ShuttingDown
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.http.problems import problem_body
from dit_serve.service.telemetry.tally import CLIENT_LEFT
from dit_serve.service.wire.job import JobEnd, Preview

QUEUED_SECONDS = 2.0  # between two places told
PING_SECONDS = 15.0  # of silence, before proxies take the connection for dead
PACE_SECONDS = 0.05  # between two steps told, unless there is a look or an end: a fast model makes more than one sees


class Teller(Protocol):
    """Puts what happens to a request's images into bytes for its reader; none where nothing is to be told."""

    @property
    def goes_on(self) -> bool:
        """Whether the others are told of when one has failed; else that is the last event."""

    async def queued(self, request_id: str, position: int, eta_seconds: float | None) -> bytes:
        """Where the request stands, and when all of it will be done."""

    async def progress(self, image: int, step: int, steps: int, eta_seconds: float | None) -> bytes:
        """An image has made a step."""

    async def preview(self, image: int, preview: Preview) -> bytes:
        """A look at an image was taken."""

    async def completed(self, image: int, request_id: str, end: JobEnd) -> bytes:
        """An image is done."""

    async def failed(self, image: int | None, request_id: str, problem: Problem) -> bytes:
        """An image has failed; None for all that is missing."""


@dataclass(frozen=True, slots=True)
class Telling:
    """A teller of our own events.

    Args:
        kinds: the events by name.
        names: what is said in each event of an image to tell it from the others, in their order.
        described: what is said of an image in its last event besides, from its number and its end.
        goes_on: whether the others are told of when one has failed; else that is the last event. What is not made
            because nothing is made any more is told as one last failure then, of no image.
    """

    kinds: Mapping[str, Callable[..., object]]
    names: Sequence[Mapping[str, int]]
    described: Callable[[int, JobEnd], Mapping[str, Any]]
    goes_on: bool = False

    async def queued(self, request_id: str, position: int, eta_seconds: float | None) -> bytes:
        """See `Teller`."""
        said = {"request_id": request_id, "position": position, "eta_seconds": eta_seconds}
        return self._event("queued", None, said)

    async def progress(self, image: int, step: int, steps: int, eta_seconds: float | None) -> bytes:
        """See `Teller`."""
        return self._event("progress", image, {"step": step, "steps": steps, "eta_seconds": eta_seconds})

    async def preview(self, image: int, preview: Preview) -> bytes:
        """See `Teller`."""
        said = {"step": preview.step, "b64_png": base64.b64encode(preview.png).decode()}
        return self._event("preview", image, said)

    async def completed(self, image: int, request_id: str, end: JobEnd) -> bytes:
        """See `Teller`."""
        return self._event("completed", image, {"request_id": request_id, **self.described(image, end)})

    async def failed(self, image: int | None, request_id: str, problem: Problem) -> bytes:
        """See `Teller`."""
        return self._event("failed", image, problem_body(problem, request_id))

    def _event(self, event: str, image: int | None, said: Mapping[str, Any]) -> bytes:
        names = {} if image is None else self.names[image]
        data = to_json(self.kinds[event](**names, **said), exclude_none=event == "failed")
        return format_sse_event(event=event, data_str=data.decode())


class Watch:
    """The events of one request's images, for one reader.

    Args:
        accepted: its jobs; each is let go of when its end is told, with the bytes of its image.
        outlook: tells where they stand in the queue, and when they will be done.
        teller: puts it into words.
    """

    def __init__(self, accepted: Sequence[Accepted], outlook: Outlook, teller: Teller) -> None:
        self.status = CLIENT_LEFT  # what the stream amounts to as an HTTP status, known with its last event
        self._request_id = accepted[0].job.request_id
        self._outlook = outlook
        self._teller = teller
        self._steps_told = [0] * len(accepted)
        self._previews_told = [0] * len(accepted)
        self._untold = dict(enumerate(accepted))
        self._images_told = 0
        self._first_problem: Problem | None = None
        self._has_lost_service = False
        self._changed, self._urgent = asyncio.Event(), asyncio.Event()
        for each in accepted:
            each.changed = self._on_change
            each.result.add_done_callback(lambda _: self._on_change(True))

    @property
    def untold(self) -> Collection[Accepted]:
        """The jobs whose end is not told, as they are at each moment."""
        return self._untold.values()

    async def events(self) -> AsyncIterator[bytes]:
        """Every event in turn; ends after the last image's, or after a failure that no other image goes on after."""
        yield await self._queued()
        while not self._is_over:
            if not await _set_within(self._changed, PING_SECONDS if self._is_begun else QUEUED_SECONDS):
                yield KEEPALIVE_COMMENT if self._is_begun else await self._queued()
                continue
            self._changed.clear()
            self._urgent.clear()
            async for event in self._news():
                if event:
                    yield event
            if not self._is_over:
                await _set_within(self._urgent, PACE_SECONDS)
        if self._has_lost_service:
            assert self._first_problem is not None
            yield await self._teller.failed(None, self._request_id, self._first_problem)
        self.status = self._final_status()

    @property
    def _is_over(self) -> bool:
        return not self._untold or (self._first_problem is not None and not self._teller.goes_on)

    @property
    def _is_begun(self) -> bool:
        return len(self._untold) < len(self._steps_told) or any(each.is_running for each in self._untold.values())

    def _on_change(self, at_once: bool) -> None:
        self._changed.set()
        if at_once:
            self._urgent.set()

    async def _queued(self) -> bytes:
        place = self._outlook.place(list(self._untold.values()))
        told = await self._teller.queued(self._request_id, place.position, _rounded(place.eta_seconds))
        return told or KEEPALIVE_COMMENT

    async def _news(self) -> AsyncIterator[bytes]:
        """What the reader does not know yet, looked up as late as can be."""
        for image in list(self._untold):
            each = self._untold[image]
            yield await self._look(image, each)
            yield await self._step(image, each)
            if each.result.done():
                yield await self._end(image, each.result.result())
            if self._is_over:
                return

    async def _look(self, image: int, each: Accepted) -> bytes:
        preview = each.preview
        if preview is None or preview.step <= self._previews_told[image]:
            return b""
        self._previews_told[image] = preview.step
        return await self._teller.preview(image, preview)

    async def _step(self, image: int, each: Accepted) -> bytes:
        step = each.steps_done
        if step <= self._steps_told[image]:  # after a crash an image begins again, and is told of new steps alone
            return b""
        self._steps_told[image] = step
        return await self._teller.progress(
            image, step, each.job.spec.steps, _rounded(self._outlook.eta_seconds(each))
        )

    async def _end(self, image: int, end: JobEnd | Problem) -> bytes:
        del self._untold[image]
        if isinstance(end, JobEnd):
            self._images_told += 1
            return await self._teller.completed(image, self._request_id, end)
        if self._teller.goes_on and isinstance(end, NotReady | ShuttingDown):
            self._first_problem, self._has_lost_service = end, True
            return b""
        self._first_problem = self._first_problem or end
        return await self._teller.failed(image if self._teller.goes_on else None, self._request_id, end)

    def _final_status(self) -> int:
        """As of an answer in JSON: of many images one is enough, else each has to come."""
        if self._first_problem is None or (self._teller.goes_on and self._images_told):
            return 200
        return self._first_problem.status


class EventStream(EventSourceResponse):
    """The response of a stream.

    Args:
        events: encoded.
        headers: beside those of every stream.
        on_close: called once, however the stream ends, even if its reader left before the first event.
    """

    def __init__(self, events: AsyncIterator[bytes], headers: dict[str, str], on_close: Callable[[], None]) -> None:
        super().__init__(events, headers={**headers, "X-Accel-Buffering": "no"})
        self._on_close = on_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events until they end or the reader leaves."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_close()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether it was set in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
