"""The container storage that all system tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.containers import Containers


@pytest.fixture(scope="session")
def containers() -> Iterator[Containers]:
    """Empty at first; everything in it is gone after the last test."""
    mine = Containers()
    try:
        yield mine
    finally:
        mine.end()
