"""Random inputs are fresh in every run; a failing test prints the seed that it ran with."""

from __future__ import annotations

import os
import random

import pytest


@pytest.fixture(autouse=True)
def fresh_random_inputs(request: pytest.FixtureRequest) -> None:
    """Seed torch anew for each test; DIT_TEST_SEED in the environment repeats a failure."""
    seed = int(os.environ.get("DIT_TEST_SEED", random.SystemRandom().randrange(2**31)))
    print(f"DIT_TEST_SEED={seed}")
    if "torch" in request.module.__dict__:
        import torch

        torch.manual_seed(seed)
