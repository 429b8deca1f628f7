"""A request's answer as it comes about: server-sent events, from its place in the queue to its images.

    queued → progress, preview … → completed, once per image; or failed, which is the last event

What each holds is `schemas.STREAM`, of which the documentation and the bytes are made.

Nothing is queued up for a reader: each time that it is ready for more it gets the newest state, so a
slow one misses steps, and never an end. The worker waits for nobody.

Knows the books' jobs, and no worker. Reference: HTML Living Standard, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from dit_serve.service.errors import Problem, problem_body
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.front.outlook import Outlook
from dit_serve.service.http.schemas import (
    STREAM,
    CompletedEvent,
    PreviewEvent,
    ProblemDocument,
    ProgressEvent,
    QueuedEvent,
)
from dit_serve.service.telemetry.tally import CLIENT_LEFT
from dit_serve.service.wire.job import JobEnd

QUEUED_SECONDS = 2.0  # between two places told
PING_SECONDS = 15.0  # of silence, before proxies take the connection for dead
PACE_SECONDS = 0.05  # at least, between two steps told: a fast model makes more of them than anybody can see


class Watch:
    """The events of one request's images, for one reader.

    Args:
        accepted: its jobs.
        outlook: tells where they stand in the queue, and when they will be done.
        completed: makes an image's last event from its index and its end.
    """

    def __init__(
        self,
        accepted: Sequence[Accepted],
        outlook: Outlook,
        completed: Callable[[int, JobEnd], CompletedEvent],
    ) -> None:
        self.status = CLIENT_LEFT  # what the stream amounts to as an HTTP status, known with its last event
        self._accepted = accepted
        self._outlook = outlook
        self._completed = completed
        self._steps_told = [0] * len(accepted)
        self._previews_told = [0] * len(accepted)
        self._untold = dict.fromkeys(range(len(accepted)))
        self._changed, self._ended = asyncio.Event(), asyncio.Event()
        for each in accepted:
            each.changed = self._changed
            each.result.add_done_callback(self._on_end)

    async def events(self) -> AsyncIterator[bytes]:
        """Every event in turn; ends after the last image's, or after a failure."""
        yield self._queued()
        while self._untold:
            if not await _set_within(self._changed, PING_SECONDS if self._is_begun else QUEUED_SECONDS):
                yield KEEPALIVE_COMMENT if self._is_begun else self._queued()
                continue
            self._changed.clear()
            self._ended.clear()
            for event in self._news():
                yield event
            if self._untold:
                await _set_within(self._ended, PACE_SECONDS)
        self.status = self._final_status()

    @property
    def _is_begun(self) -> bool:
        return any(each.is_running for each in self._accepted)

    def _on_end(self, _: object) -> None:
        self._changed.set()
        self._ended.set()

    def _queued(self) -> bytes:
        place = self._outlook.place(self._accepted)
        request_id = self._accepted[0].job.request_id
        return _event(QueuedEvent(request_id, place.position, _rounded(place.eta_seconds)))

    def _news(self) -> Iterator[bytes]:
        """What the reader does not know yet, looked up as late as can be."""
        for index in list(self._untold):
            each = self._accepted[index]
            yield from self._look(index, each)
            yield from self._step(index, each)
            if each.result.done():
                yield self._end(index, each.result.result())
            if not self._untold:
                return

    def _look(self, index: int, each: Accepted) -> Iterator[bytes]:
        preview = each.preview
        if preview is not None and preview.step > self._previews_told[index]:
            self._previews_told[index] = preview.step
            yield _event(PreviewEvent(index, preview.step, base64.b64encode(preview.png).decode()))

    def _step(self, index: int, each: Accepted) -> Iterator[bytes]:
        step = each.steps_done
        if step > self._steps_told[index]:  # after a crash an image begins again; its reader is told of new steps alone
            self._steps_told[index] = step
            yield _event(ProgressEvent(index, step, each.job.spec.steps, _rounded(self._outlook.eta_seconds(each))))

    def _end(self, index: int, end: JobEnd | Problem) -> bytes:
        if isinstance(end, Problem):
            self._untold.clear()
            body = problem_body(end, self._accepted[index].job.request_id)
            return _event(ProblemDocument.model_validate(body))
        del self._untold[index]
        return _event(self._completed(index, end))

    def _final_status(self) -> int:
        ends = [each.result.result() for each in self._accepted if each.result.done()]
        return next((end.status for end in ends if isinstance(end, Problem)), 200)


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


def _event(data: object) -> bytes:
    name = next(name for name, kind in STREAM.items() if kind is type(data))
    return format_sse_event(event=name, data_str=to_json(data, exclude_none=name == "failed").decode())
