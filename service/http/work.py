"""The accepted jobs of one request, from their acceptance to its answer, whatever protocol it came in.

They are given up when the deadline passes, or when the client closes its connection. Knows the front, and no form of
request or answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from dit_serve.service.errors import FieldError, InvalidRequest, Problem
from dit_serve.service.front.front import Front
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.http.deadline import expiring
from dit_serve.service.http.events import EventStream, Teller, Watch
from dit_serve.service.http.middleware import end_as, has_jobs
from dit_serve.service.wire.job import Job, JobEnd

NOT_KEPT = {"Vary": "Accept", "Cache-Control": "no-store"}


class Work:
    """What one request has been promised.

    Args:
        request: in whose answer it ends.
        front: that has accepted it.
        jobs: one an image.
        accepted: the same in the front's books.
        deadline: by the event loop's clock; None for none.
    """

    def __init__(
        self, request: Request, front: Front, jobs: Sequence[Job], accepted: Sequence[Accepted], deadline: float | None
    ) -> None:
        self.jobs = jobs
        self._request = request
        self._front = front
        self._accepted = accepted
        self._deadline = deadline

    @classmethod
    def accept(cls, request: Request, front: Front, jobs: Sequence[Job], deadline: float | None) -> Work:
        """Has all of these jobs accepted, or none.

        Args:
            request: that asks for them.
            front: accepts them.
            jobs: one an image.
            deadline: see `deadline_at`.

        Raises:
            Problem: the front refuses them now.
        """
        accepted = front.submit(jobs, deadline)
        has_jobs(request)
        return cls(request, front, jobs, accepted, deadline)

    async def ends(self) -> list[JobEnd]:
        """The end of each job, in order; all are given up when one fails.

        Raises:
            Problem: one came to no image.
        """
        with self._bounded():
            return await self._front.results(self._accepted)

    async def each_end(self) -> list[JobEnd | Problem]:
        """The end of each job, in order, whatever becomes of the others."""
        with self._bounded():
            try:
                await asyncio.wait([each.result for each in self._accepted])
            finally:
                self._front.give_up(self._accepted)
            return [each.result.result() for each in self._accepted]

    def stream(self, teller: Teller, headers: Mapping[str, str] = NOT_KEPT) -> Response:
        """The response that tells of the jobs as they come about; what its reader does not wait for is given up."""
        watch = Watch(self._accepted, self._front.outlook, teller)
        expiry = contextlib.ExitStack()
        expiry.enter_context(expiring(self._front, watch.untold, self._deadline))
        self._accepted = ()  # the watch lets go of each when it has been told

        def close() -> None:
            expiry.close()
            self._front.give_up(watch.untold)
            end_as(self._request, watch.status)

        return EventStream(watch.events(), dict(headers), close)

    @contextlib.contextmanager
    def _bounded(self) -> Generator[None, None, None]:
        with expiring(self._front, self._accepted, self._deadline), self._given_up_when_client_leaves():
            yield

    @contextlib.contextmanager
    def _given_up_when_client_leaves(self) -> Generator[None, None, None]:
        """Gives the jobs up when the client closes its connection before the block has ended."""

        def give_up(leaving: asyncio.Task[None]) -> None:
            if not leaving.cancelled():
                self._front.give_up(self._accepted)

        leaving = asyncio.create_task(_client_left(self._request))
        leaving.add_done_callback(give_up)
        try:
            yield
        finally:
            leaving.cancel()


def deadline_at(arrived: float, milliseconds: int | None) -> float | None:
    """When a request that arrived at a time of the event loop's clock is not waited for any more; None for never."""
    return None if milliseconds is None else arrived + milliseconds / 1e3


def check_size(jobs: Sequence[Job], front: Front, field: str) -> None:
    """Refuses what could never be accepted, however long its client waits.

    Args:
        jobs: one an image.
        front: would have to accept them.
        field: of the request that asks for so many.

    Raises:
        InvalidRequest: they need more places than there are.
    """
    needed, most = sum(job.sequences for job in jobs), front.admission.max_queue_sequences
    if needed > most:
        text = f"need {needed} places (two an image, or one if cfg is 1) of a queue that has {most}: send fewer at once"
        raise InvalidRequest([FieldError(field, text)])


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
