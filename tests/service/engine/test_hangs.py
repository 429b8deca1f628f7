"""What is overdue, and when."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.engine.hangs import HANG, LOOK_SECONDS, Pulse
from dit_serve.service.telemetry.usual import SETTLED
from tests.service.telemetry.test_usual import Clock

LOOK = 1.0


class Watched:
    """A pulse that somebody feels every second, as time passes."""

    def __init__(self, floor_seconds: float) -> None:
        self.clock = Clock()
        self.pulse = Pulse(floor_seconds, self.clock)

    def lives(self, seconds: float) -> str:
        """What was overdue in that time, the last time that somebody looked."""
        while seconds > LOOK:
            self.clock.now += LOOK
            seconds -= LOOK
            self.pulse.overdue()
        self.clock.now += seconds
        return self.pulse.overdue()

    def works(self, seconds: float, size: int = 1, what: str = "a step") -> str:
        """What was overdue at the end of a piece of work."""
        with self.pulse.work(what, size):
            return self.lives(seconds)


def test_nothing_is_overdue_while_nothing_is_done() -> None:
    assert Watched(1.0).lives(1000) == ""


def test_unmeasured_work_is_overdue_after_the_floor() -> None:
    here = Watched(2.0)
    with here.pulse.work("a step", 4):
        assert here.lives(2.0) == ""
        assert here.lives(0.1) == "a step: 2.1 s, where 2.0 s are the most"
    assert here.pulse.overdue() == ""


def test_measured_work_has_a_multiple_of_its_price() -> None:
    here = Watched(1.0)
    here.works(1.0, size=2)
    assert here.works(HANG.factor * 4.0, size=8) == ""
    here = Watched(1.0)
    here.works(1.0, size=2)
    assert here.works(HANG.factor * 4.0 + 0.1, size=8) != ""


def test_each_kind_of_work_has_its_own_price() -> None:
    here = Watched(1.0)
    here.works(10.0)
    assert here.works(1.1, what="decoding").startswith("decoding")


def test_work_that_fails_ends_and_is_no_measurement() -> None:
    here = Watched(1.0)

    def fail() -> None:
        with here.pulse.work("a step", 1):
            here.lives(50.0)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert here.pulse.overdue() == ""
    assert here.works(1.1) != ""


def test_work_of_two_threads_is_watched_at_once() -> None:
    here = Watched(1.0)
    has_begun, may_end = threading.Event(), threading.Event()

    def decode() -> None:
        with here.pulse.work("decoding", 1):
            has_begun.set()
            may_end.wait(60)

    thread = threading.Thread(target=decode)
    thread.start()
    has_begun.wait(60)
    here.lives(1.5)
    with here.pulse.work("a step", 1):
        assert here.pulse.overdue().startswith("decoding")
    may_end.set()
    thread.join()


def test_time_in_which_the_process_was_stopped_is_no_time_of_its_work() -> None:
    here = Watched(20.0)
    with here.pulse.work("a step", 1):
        here.clock.now += 3600
        assert here.pulse.overdue() == ""
        assert here.lives(20.0 - LOOK_SECONDS) == ""
        assert here.lives(0.1) != ""


@pytest.mark.parametrize("steps_before", [0, 1, 5, 100])
def test_one_paused_step_widens_the_bound_for_a_few_steps_at_the_most(steps_before: int) -> None:
    here = Watched(20.0)
    for _ in range(steps_before):
        here.works(0.01)
    with here.pulse.work("a step", 1):
        here.clock.now += 15.0
    for _ in range(SETTLED):
        here.works(0.01)
    assert here.works(20.1) != ""


def test_a_paused_step_that_nothing_follows_widens_the_bound_less_with_time() -> None:
    here = Watched(20.0)
    with here.pulse.work("a step", 1):
        here.clock.now += 15.0
    here.lives(300)
    assert here.works(HANG.least_factor * 15.0 + 0.1) != ""


@given(
    st.floats(0.5, 10.0),
    st.lists(st.tuples(st.integers(1, 16), st.floats(0.7, 1.4), st.sampled_from([0.0, 1.0, 3600.0])), max_size=40),
    st.integers(0, 40),
)
def test_a_slow_model_is_never_overdue_whatever_it_does_between_and_if_it_is_paused_once(
    seconds: float, steps: list[tuple[int, float, float]], paused_at: int
) -> None:
    """Steps whose time grows with their rows, by all of it or by half."""
    for share in (0.0, 0.5):
        here = Watched(20.0)
        for number, (size, busy, idle) in enumerate([(1, 1.0, 0.0), *steps]):
            with here.pulse.work("a step", size):
                if number == paused_at:
                    here.clock.now += 15.0
                assert here.lives(busy * seconds * (share + (1 - share) * size)) == ""
            here.clock.now += idle
