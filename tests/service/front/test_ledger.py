"""The books: what has become of each job, what a crash changes, and that a job ends once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dit_serve.service.errors import JobFailed
from dit_serve.service.front.ledger import Accepted, Books
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Started, Stepped, Timings


def job(number: int, scale: float = 4.0, steps: int = 10) -> Job:
    return Job(number, "r", 64, 0, 0, steps, scale, "ddim")


def with_books(test: Callable[[Books], None]) -> None:
    """Runs a test inside an event loop, as the books need one for their promises."""

    async def run() -> None:
        test(Books())

    asyncio.run(run())


def end(books: Books, number: int) -> Accepted:
    accepted = books.find(number)
    assert accepted is not None
    books.end(accepted, JobEnd(number, Outcome.COMPLETED, b"png", Timings()))
    return accepted


def test_sequences_count_from_entry_to_end() -> None:
    def test(books: Books) -> None:
        books.enter(job(1))
        books.enter(job(2, scale=1))
        assert books.sequences == 3
        end(books, 1)
        assert (books.sequences, len(books)) == (1, 1)

    with_books(test)


def test_an_end_keeps_the_promise_and_comes_once() -> None:
    def test(books: Books) -> None:
        books.enter(job(1))
        accepted = end(books, 1)
        result = accepted.result.result()
        assert isinstance(result, JobEnd)
        assert result.png == b"png"
        with pytest.raises(KeyError):
            books.end(accepted, JobEnd(1, Outcome.FAILED))

    with_books(test)


def test_a_problem_is_what_the_client_gets() -> None:
    def test(books: Books) -> None:
        accepted = books.enter(job(1))
        books.end(accepted, JobEnd(1, Outcome.FAILED), JobFailed("why"))
        assert isinstance(accepted.result.result(), JobFailed)

    with_books(test)


def test_accepted_equals_ended_plus_open() -> None:
    def test(books: Books) -> None:
        for number in range(5):
            books.enter(job(number))
        for number in range(3):
            end(books, number)
        assert books.counters.accepted == sum(books.counters.ended.values()) + len(books)

    with_books(test)


def test_crashes_are_counted_for_running_jobs_alone() -> None:
    def test(books: Books) -> None:
        for number in (1, 2):
            books.enter(job(number))
        for _ in range(2):
            books.note(Started((1,)))
            books.note_crash(books)
        assert [accepted.crashes for accepted in books] == [2, 0]

    with_books(test)


def test_a_crash_concerns_the_jobs_of_its_worker_alone() -> None:
    def test(books: Books) -> None:
        for number in (1, 2):
            books.enter(job(number))
            books.note(Started((number,)))
        books.note_crash([accepted for accepted in books if accepted.job.id == 2])
        assert [(accepted.crashes, accepted.is_running) for accepted in books] == [(0, True), (1, False)]

    with_books(test)


def test_remaining_work_falls_with_steps_and_returns_with_a_crash() -> None:
    def test(books: Books) -> None:
        books.enter(job(1, steps=10))
        books.note(Started((1,)))
        for _ in range(4):
            books.note(Stepped((1,), 64, 2, 0.2))
        assert books.estimate.seconds() == pytest.approx(6 * 2 * 0.1)
        books.note_crash(books)
        assert books.estimate.seconds() == pytest.approx(10 * 2 * 0.1)
        end(books, 1)
        assert books.estimate.seconds() == pytest.approx(0)

    with_books(test)


def test_the_census_knows_how_many_wait_and_run_before_and_after_a_crash() -> None:
    def test(books: Books) -> None:
        for number, scale in ((1, 4.0), (2, 1.0), (3, 4.0)):
            books.enter(job(number, scale))
        books.note(Started((1, 2)))
        assert dict(books.census.sequences) == {(64, False): 2, (64, True): 3}
        books.note_crash([accepted for accepted in books if accepted.job.id == 1])
        assert dict(books.census.jobs) == {(64, False): 2, (64, True): 1}
        books.note(Started((1,)))
        for number in (1, 2, 3):
            end(books, number)
        assert set(books.census.jobs.values()) == set(books.census.sequences.values()) == {0}

    with_books(test)


def test_an_event_of_a_job_that_has_ended_is_nothing() -> None:
    def test(books: Books) -> None:
        books.note(Started((99,)))
        books.note(Stepped((99,), 64, 2, 0.2))
        assert books.find(99) is None

    with_books(test)
