"""How long a request may take: said by X-Deadline-Ms or by the body, kept by giving its jobs up.

Time counts from the arrival of the request's headers. Whether the deadline can be met is the
front's judgement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from dit_serve.service.errors import FieldError
from dit_serve.service.front.front import Front
from dit_serve.service.front.ledger import Accepted
from dit_serve.service.http.schemas import MAX_DEADLINE_MS
from dit_serve.service.wire.job import Outcome

HEADER = "X-Deadline-Ms"


def read_deadline(headers: Sequence[str], in_body: int | None = None) -> tuple[int | None, list[FieldError]]:
    """Milliseconds that a request may take, None if it does not say, and what is wrong with what it says.

    Args:
        headers: every X-Deadline-Ms of the request.
        in_body: what its body says.
    """
    said = [_milliseconds(text.strip()) for text in headers]
    if None in said:
        return None, [FieldError(HEADER, f"must be one whole number of milliseconds, 1 to {MAX_DEADLINE_MS}")]
    different = {*said, in_body} - {None}
    if len(different) > 1:
        return None, [FieldError(HEADER, "differs from another deadline of the same request")]
    return next(iter(different), None), []


@contextmanager
def expiring(front: Front, accepted: Iterable[Accepted], at: float | None) -> Generator[None, None, None]:
    """Gives jobs up at a time of the event loop's clock, if the block has not ended before; None for never."""
    if at is None:
        yield
        return
    timer = asyncio.get_running_loop().call_at(at, front.give_up, accepted, Outcome.EXPIRED)
    try:
        yield
    finally:
        timer.cancel()


def _milliseconds(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) <= MAX_DEADLINE_MS
    return int(text) if is_number else None
