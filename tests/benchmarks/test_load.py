"""The open-loop load: its arrivals, its mix and its arithmetic."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest

from benchmarks.load import (
    BLOCK,
    CFGS,
    STEPS,
    Answer,
    Ask,
    Trace,
    balanced_asks,
    by_generate,
    by_openai,
    poisson_times,
    quantile,
)


def test_every_block_of_asks_holds_each_pair_once() -> None:
    asks = balanced_asks(10 * BLOCK, random.Random(1))
    for start in range(0, len(asks), BLOCK):
        pairs = Counter((ask.steps, ask.cfg) for ask in asks[start : start + BLOCK])
        assert pairs == {(steps, cfg): 1 for steps in STEPS for cfg in CFGS}


def test_the_same_seed_gives_the_same_load() -> None:
    assert balanced_asks(20, random.Random(3)) == balanced_asks(20, random.Random(3))


def test_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    times = poisson_times(50.0, 20_000, random.Random(7))
    gaps = [after - before for before, after in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.03)  # four standard errors of 20,000 exponential gaps
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert spread == pytest.approx(mean, rel=0.06)  # an exponential's deviation is its mean


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert quantile(random.Random(0).sample(range(1, 101), 100), share) == expected


def test_a_quantile_of_nothing_is_no_number() -> None:
    assert math.isnan(quantile([], 0.5))


def test_both_routes_are_asked_for_the_same_image() -> None:
    ask = Ask(class_id=7, cfg=4.0, steps=20, seed=11)
    own, theirs = (json.loads(message(ask).partition(b"\r\n\r\n")[2]) for message in (by_generate, by_openai))
    assert own == {"class_id": 7, "cfg": 4.0, "steps": 20, "seed": 11}
    assert theirs == {"prompt": "7", "response_format": "b64_json", "cfg": 4.0, "steps": 20, "seed": 11}


@pytest.mark.parametrize(
    ("status", "media_type", "body", "image"),
    [
        (200, "image/png", b"image", b"image"),
        (200, "application/json", b'{"data": [{"b64_json": "aW1hZ2U="}]}', b"image"),
        (429, "application/problem+json", b"{}", b""),
    ],
)
def test_an_image_is_the_body_or_stands_in_its_json(status: int, media_type: str, body: bytes, image: bytes) -> None:
    assert Trace(0.1, Answer(status, {"content-type": media_type}, body)).png == image


def test_where_no_answer_came_there_is_no_image() -> None:
    assert Trace(0.1, None).png == b""
