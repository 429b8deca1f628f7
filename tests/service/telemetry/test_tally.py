"""What a status means, and that the sum is right."""

from __future__ import annotations

import pytest

from dit_serve.service.errors import Problem
from dit_serve.service.telemetry.tally import Tally, Verdict, verdict_of


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.COMPLETED),
        (307, Verdict.COMPLETED),
        (400, Verdict.INVALID),
        (401, Verdict.INVALID),
        (404, Verdict.INVALID),
        (408, Verdict.INVALID),
        (422, Verdict.INVALID),
        (429, Verdict.REFUSED),
        (431, Verdict.INVALID),
        (499, Verdict.CANCELLED),
        (0, Verdict.CANCELLED),
        (500, Verdict.FAILED),
        (503, Verdict.REFUSED),
        (504, Verdict.FAILED),
    ],
)
def test_a_status_has_its_verdict(status: int, verdict: Verdict) -> None:
    assert verdict_of(status) is verdict


def test_what_was_accepted_is_not_refused_any_more_but_fails() -> None:
    assert verdict_of(503, was_accepted=True) is Verdict.FAILED


def test_no_problem_counts_as_completed() -> None:
    assert Verdict.COMPLETED not in {verdict_of(kind.status) for kind in Problem.__subclasses__()}


def test_received_is_the_sum_of_the_ends_and_of_those_under_way() -> None:
    tally = Tally(received=3)
    tally.end(200)
    tally.end(429)
    assert tally.under_way == 1
    assert tally.received == sum(tally.ended.values()) + tally.under_way
