"""The ledger: what has become of each job, what a crash changes, and that a job ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dit_serve.models.options import SampleSpec
from dit_serve.service.errors import JobFailed
from dit_serve.service.front.ledger import Accepted, Ledger
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started, Stepped, Timings


def job(number: int, scale: float = 4.0, steps: int = 10) -> Job:
    return Job(number, "r", "fake-64", SampleSpec(0, 0, steps, scale, "ddim"))


def with_ledger(test: Callable[[Ledger], None]) -> None:
    """Runs a test inside an event loop, as the ledger need one for their promises."""

    async def run() -> None:
        test(Ledger(2))

    asyncio.run(run())


def send(ledger: Ledger, *numbers: int, worker: int = 0) -> None:
    for number in numbers:
        accepted = ledger.find(number)
        assert accepted is not None
        ledger.send(accepted, worker)


def end(ledger: Ledger, number: int) -> Accepted:
    accepted = ledger.find(number)
    assert accepted is not None
    ledger.end(accepted, JobEnd(number, Outcome.COMPLETED, b"png", Timings()))
    return accepted


def test_sequences_count_from_entry_to_end() -> None:
    def test(ledger: Ledger) -> None:
        ledger.enter(job(1))
        ledger.enter(job(2, scale=1))
        assert ledger.sequences == 3
        end(ledger, 1)
        assert (ledger.sequences, len(ledger)) == (1, 1)

    with_ledger(test)


def test_an_end_keeps_the_promise_and_comes_once() -> None:
    def test(ledger: Ledger) -> None:
        ledger.enter(job(1))
        accepted = end(ledger, 1)
        result = accepted.result.result()
        assert isinstance(result, JobEnd)
        assert result.png == b"png"
        with pytest.raises(KeyError):
            ledger.end(accepted, JobEnd(1, Outcome.FAILED))

    with_ledger(test)


def test_a_problem_is_what_the_client_gets() -> None:
    def test(ledger: Ledger) -> None:
        accepted = ledger.enter(job(1))
        ledger.end(accepted, JobEnd(1, Outcome.FAILED), JobFailed("why"))
        assert isinstance(accepted.result.result(), JobFailed)

    with_ledger(test)


def test_accepted_equals_ended_plus_open() -> None:
    def test(ledger: Ledger) -> None:
        for number in range(5):
            ledger.enter(job(number))
        for number in range(3):
            end(ledger, number)
        assert ledger.counters.accepted == sum(ledger.counters.ended.values()) + len(ledger)

    with_ledger(test)


def test_crashes_are_counted_for_running_jobs_alone() -> None:
    def test(ledger: Ledger) -> None:
        for number in (1, 2):
            ledger.enter(job(number))
        for _ in range(2):
            send(ledger, 1, 2)
            ledger.started(Started((1,), 0.0))
            assert [accepted.job.id for accepted in ledger.lost(0)] == [1, 2]
        assert [accepted.crashes for accepted in ledger] == [2, 0]

    with_ledger(test)


def test_a_crash_concerns_the_jobs_of_its_worker_alone() -> None:
    def test(ledger: Ledger) -> None:
        for number in (1, 2):
            ledger.send(ledger.enter(job(number)), worker=number - 1)
            ledger.started(Started((number,), 0.0))
        ledger.lost(1)
        assert [(accepted.crashes, accepted.is_running) for accepted in ledger] == [(0, True), (1, False)]

    with_ledger(test)


def test_remaining_work_falls_with_steps_and_returns_with_a_crash() -> None:
    def test(ledger: Ledger) -> None:
        ledger.enter(job(1, steps=10))
        send(ledger, 1)
        ledger.started(Started((1,), 0.0))
        for _ in range(4):
            ledger.stepped(Stepped((1,), "fake-64", 2, 0.2, 0.0), 0)
        assert ledger.estimate.seconds() == pytest.approx(6 * 2 * 0.1)
        ledger.lost(0)
        assert ledger.estimate.seconds() == pytest.approx(10 * 2 * 0.1)
        end(ledger, 1)
        assert ledger.estimate.seconds() == pytest.approx(0)

    with_ledger(test)


def test_the_census_knows_how_many_wait_and_run_before_and_after_a_crash() -> None:
    def test(ledger: Ledger) -> None:
        for number, scale in ((1, 4.0), (2, 1.0), (3, 4.0)):
            ledger.enter(job(number, scale))
        send(ledger, 1)
        send(ledger, 2, worker=1)
        ledger.started(Started((1, 2), 0.0))
        assert ledger.census == {("fake-64", False): (1, 2), ("fake-64", True): (2, 3)}
        ledger.lost(0)
        assert ledger.census == {("fake-64", False): (2, 4), ("fake-64", True): (1, 1)}
        send(ledger, 1)
        ledger.started(Started((1,), 0.0))
        for number in (1, 2, 3):
            end(ledger, number)
        assert set(ledger.census.values()) == {(0, 0)}

    with_ledger(test)


def test_an_event_of_a_job_that_has_ended_is_nothing() -> None:
    def test(ledger: Ledger) -> None:
        ledger.started(Started((99,), 0.0))
        ledger.stepped(Stepped((99,), "fake-64", 2, 0.2, 0.0), 0)
        assert ledger.find(99) is None

    with_ledger(test)
