"""What is overdue, and when."""

from __future__ import annotations

import threading

import pytest

from dit_serve.service.engine.hangs import HANG_FACTOR, Pulse


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_overdue_while_nothing_is_done() -> None:
    clock = Clock()
    pulse = Pulse(1.0, clock)
    clock.now += 1000
    assert pulse.overdue() == ""


def test_unmeasured_work_is_overdue_after_the_floor() -> None:
    clock = Clock()
    pulse = Pulse(2.0, clock)
    with pulse.work("a step", 4):
        clock.now += 2.0
        assert pulse.overdue() == ""
        clock.now += 0.1
        assert pulse.overdue() == "a step: 2.1 s, where 2.0 s are the most"
    assert pulse.overdue() == ""


def test_measured_work_has_a_multiple_of_its_price() -> None:
    clock = Clock()
    pulse = Pulse(1.0, clock)
    with pulse.work("a step", 2):
        clock.now += 1.0
    with pulse.work("a step", 8):
        clock.now += HANG_FACTOR * 4.0
        assert pulse.overdue() == ""
        clock.now += 0.1
        assert pulse.overdue() != ""


def test_each_kind_of_work_has_its_own_price() -> None:
    clock = Clock()
    pulse = Pulse(1.0, clock)
    with pulse.work("a step", 1):
        clock.now += 10.0
    with pulse.work("decoding", 1):
        clock.now += 1.1
        assert pulse.overdue().startswith("decoding")


def test_work_that_fails_ends_and_is_no_measurement() -> None:
    clock = Clock()
    pulse = Pulse(1.0, clock)

    def fail() -> None:
        with pulse.work("a step", 1):
            clock.now += 50.0
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert pulse.overdue() == ""
    with pulse.work("a step", 1):
        clock.now += 1.1
        assert pulse.overdue() != ""


def test_work_of_two_threads_is_watched_at_once() -> None:
    clock = Clock()
    pulse = Pulse(1.0, clock)
    has_begun, may_end = threading.Event(), threading.Event()

    def decode() -> None:
        with pulse.work("decoding", 1):
            has_begun.set()
            may_end.wait(60)

    thread = threading.Thread(target=decode)
    thread.start()
    has_begun.wait(60)
    clock.now += 1.5
    with pulse.work("a step", 1):
        assert pulse.overdue().startswith("decoding")
    may_end.set()
    thread.join()
