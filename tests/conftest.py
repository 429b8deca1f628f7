"""Random inputs are fresh in every run, a failing test prints the seed that it ran with; a card is left as it was."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def fresh_random_inputs(request: pytest.FixtureRequest) -> None:
    """Seed torch anew for each test; DIT_TEST_SEED in the environment repeats a failure."""
    seed = int(os.environ.get("DIT_TEST_SEED", random.SystemRandom().randrange(2**31)))
    print(f"DIT_TEST_SEED={seed}")
    if "torch" in request.module.__dict__:
        import torch

        torch.manual_seed(seed)


@pytest.fixture(autouse=True)
def card_is_settled(request: pytest.FixtureRequest) -> Iterator[None]:
    """What fails on a card fails in the test that began it, and spoils none that comes after."""
    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    from tests.cards import settled

    with settled():
        yield


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes give a test no name: archives have the time in them, and every process must find the same tests."""
    return argname if isinstance(val, bytes) else None
