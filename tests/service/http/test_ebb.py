"""When memory that connections took is given back: once many have gone, and once for each time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dit_serve.service.http import ebb
from dit_serve.service.http.connections import Bounds, Connections


async def looked(connections: Connections, opened: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which looks memory was given back, if so many connections were open at most and then at each look."""
    looks, given = 0, list[int]()

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks > len(opened):
            raise asyncio.CancelledError
        places: Any = connections._places
        places.clear()
        places.update(dict.fromkeys(range(opened[looks - 1])))

    monkeypatch.setattr(ebb.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await ebb.give_back_after_floods(connections, lambda: given.append(looks))
    return given


@pytest.mark.parametrize(
    ("most", "opened", "expected"),
    [
        (1000, [1000, 900, 200, 3, 0], [3]),  # most of them have gone; the rest is not worth it
        (1000, [0, 0, 0], [1]),  # a flood that came and went between two looks
        (ebb.MANY - 1, [0, 0], []),
        (1000, [251, 251], []),
    ],
)
def test_memory_is_given_back_once_when_many_have_gone(
    most: int, opened: list[int], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = Connections(Bounds(4096, 4096, 64))
    connections.most = most
    assert asyncio.run(looked(connections, opened, monkeypatch)) == expected
