"""A request's answer as it comes about: server-sent events, from its place in the queue to its images.

    queued → progress, preview … → completed, once per image; or failed: of all that is missing, or of one image of many

What each holds is `schemas.STREAM` or `batch_schemas.BATCH_STREAM`, of which the documentation and the bytes are made.

Nothing is queued up for a reader: each time that it is ready for more it gets the newest state, so a
slow one misses steps, and never an end. The worker waits for nobody.

Knows the books' jobs, and no worker. Reference: HTML Living Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from dit_serve.service.errors import NotReady, Problem, ShuttingDown, problem_body
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.telemetry.tally import CLIENT_LEFT
from dit_serve.service.wire.job import JobEnd

QUEUED_SECONDS = 2.0  # between two places told
PING_SECONDS = 15.0  # of silence, before proxies take the connection for dead
PACE_SECONDS = 0.05  # between two steps told, unless there is a look or an end: a fast model makes more than one sees


@dataclass(frozen=True, slots=True)
class Telling:
    """How a stream puts what happens to its images.

    Args:
        kinds: of its events, by name.
        names: what is said in each event of an image to tell it from the others, in their order.
        completed: what is said of an image in its last event besides, from its number and its end.
        goes_on: whether the others are told of when one has failed; else that is the last event. What is not made
            because nothing is made any more is told as one last failure then, of no image.
    """

    kinds: Mapping[str, Callable[..., object]]
    names: Sequence[Mapping[str, int]]
    completed: Callable[[int, JobEnd], Mapping[str, Any]]
    goes_on: bool = False

    def event(self, event: str, image: int | None, said: Mapping[str, Any]) -> bytes:
        """An event, encoded.

        Args:
            event: its name.
            image: its number; None for an event of all of them.
            said: what is said of it.
        """
        names = {} if image is None else self.names[image]
        data = to_json(self.kinds[event](**names, **said), exclude_none=event == "failed")
        return format_sse_event(event=event, data_str=data.decode())


class Watch:
    """The events of one request's images, for one reader.

    Args:
        accepted: its jobs; each is let go of when its end is told, with the bytes of its image.
        outlook: tells where they stand in the queue, and when they will be done.
        telling: puts it into words.
    """

    def __init__(self, accepted: Sequence[Accepted], outlook: Outlook, telling: Telling) -> None:
        self.status = CLIENT_LEFT  # what the stream amounts to as an HTTP status, known with its last event
        self._request_id = accepted[0].job.request_id
        self._outlook = outlook
        self._telling = telling
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
        yield self._queued()
        while not self._is_over:
            if not await _set_within(self._changed, PING_SECONDS if self._is_begun else QUEUED_SECONDS):
                yield KEEPALIVE_COMMENT if self._is_begun else self._queued()
                continue
            self._changed.clear()
            self._urgent.clear()
            for event in self._news():
                yield event
            if not self._is_over:
                await _set_within(self._urgent, PACE_SECONDS)
        if self._has_lost_service:
            assert self._first_problem is not None
            yield self._failed(None, self._first_problem)
        self.status = self._final_status()

    @property
    def _is_over(self) -> bool:
        return not self._untold or (self._first_problem is not None and not self._telling.goes_on)

    @property
    def _is_begun(self) -> bool:
        return len(self._untold) < len(self._steps_told) or any(each.is_running for each in self._untold.values())

    def _on_change(self, at_once: bool) -> None:
        self._changed.set()
        if at_once:
            self._urgent.set()

    def _queued(self) -> bytes:
        place = self._outlook.place(list(self._untold.values()))
        said = {"position": place.position, "eta_seconds": _rounded(place.eta_seconds)}
        return self._telling.event("queued", None, {"request_id": self._request_id, **said})

    def _news(self) -> Iterator[bytes]:
        """What the reader does not know yet, looked up as late as can be."""
        for image in list(self._untold):
            each = self._untold[image]
            yield from self._look(image, each)
            yield from self._step(image, each)
            if each.result.done():
                yield from self._end(image, each.result.result())
            if self._is_over:
                return

    def _look(self, image: int, each: Accepted) -> Iterator[bytes]:
        preview = each.preview
        if preview is not None and preview.step > self._previews_told[image]:
            self._previews_told[image] = preview.step
            said = {"step": preview.step, "b64_png": base64.b64encode(preview.png).decode()}
            yield self._telling.event("preview", image, said)

    def _step(self, image: int, each: Accepted) -> Iterator[bytes]:
        step = each.steps_done
        if step > self._steps_told[image]:  # after a crash an image begins again; its reader is told of new steps alone
            self._steps_told[image] = step
            eta_seconds = _rounded(self._outlook.eta_seconds(each))
            said = {"step": step, "steps": each.job.spec.steps, "eta_seconds": eta_seconds}
            yield self._telling.event("progress", image, said)

    def _end(self, image: int, end: JobEnd | Problem) -> Iterator[bytes]:
        del self._untold[image]
        if isinstance(end, JobEnd):
            self._images_told += 1
            said = {"request_id": self._request_id, **self._telling.completed(image, end)}
            yield self._telling.event("completed", image, said)
        elif self._telling.goes_on and isinstance(end, NotReady | ShuttingDown):
            self._first_problem, self._has_lost_service = end, True
        else:
            self._first_problem = self._first_problem or end
            yield self._failed(image if self._telling.goes_on else None, end)

    def _failed(self, image: int | None, problem: Problem) -> bytes:
        return self._telling.event("failed", image, problem_body(problem, self._request_id))

    def _final_status(self) -> int:
        """As of an answer in JSON: of many images one is enough, else each has to come."""
        if self._first_problem is None or (self._telling.goes_on and self._images_told):
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
