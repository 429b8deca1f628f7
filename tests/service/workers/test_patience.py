"""How long a process may say nothing, by what it does and by what others before it did."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.telemetry.usual import SETTLED
from dit_serve.service.workers.patience import (
    CALLED_SECONDS,
    FIRST_LOADING_SECONDS,
    LEAST_LOADING_SECONDS,
    SILENCES,
    STEPS,
    Habit,
    Patience,
    Phase,
    Silence,
)
from tests.service.telemetry.test_usual import Clock


def up(silence_seconds: float = 1.5) -> tuple[Patience, Clock]:
    """Patience with a process that is up."""
    clock = Clock()
    patience = Patience(silence_seconds, 20.0, Habit(600.0, 20.0), clock)
    patience.began(is_called=True)
    patience.answered()
    patience.loaded()
    return patience, clock


def test_each_phase_has_its_bound() -> None:
    patience = Patience(1.5, 20.0, Habit(600.0, 20.0))
    patience.began(is_called=False)
    assert (patience.phase, patience.seconds) == (Phase.IMPORTING, 600.0)
    patience.imported()
    assert (patience.phase, patience.seconds) == (Phase.LOADING, FIRST_LOADING_SECONDS)
    patience.loaded()
    assert (patience.phase, patience.seconds) == (Phase.UP, 10.0)
    patience.began(is_called=True)
    assert (patience.phase, patience.seconds) == (Phase.CALLED, CALLED_SECONDS)
    patience.answered()
    assert (patience.phase, patience.seconds) == (Phase.LOADING, LEAST_LOADING_SECONDS)


def test_no_bound_is_below_the_operators_own() -> None:
    patience = Patience(1000.0, 20.0, Habit(600.0, 20.0))
    for is_called in (False, True):
        patience.began(is_called=is_called)
        assert patience.seconds == 1000.0


def test_a_habit_is_wide_until_one_was_seen_to_get_through() -> None:
    habit = Habit(600.0, 20.0)
    assert habit.seconds == 600.0
    habit.seen(0.1)
    assert habit.seconds == 20.0
    habit.seen(10.0)
    assert habit.seconds == 10.0 * SILENCES
    habit.seen(0.1)
    assert habit.seconds == 10.0 * SILENCES
    habit.seen(500.0)
    assert habit.seconds == 600.0


def test_whoever_was_given_up_for_its_silence_leaves_the_next_one_more_time() -> None:
    habit = Habit(600.0, 20.0)
    habit.seen(0.1)
    for seconds in (40.0, 80.0, 160.0, 320.0, 600.0, 600.0):
        habit.missed()
        assert habit.seconds == seconds
    habit.seen(0.1)
    assert habit.seconds == 20.0


def test_what_was_too_long_a_silence_is_told_by_what_the_process_did() -> None:
    async def run() -> None:
        patience = Patience(0.01, 20.0, Habit(0.02, 0.02))
        patience.began(is_called=False)
        assert await patience.ends() == "silent for 0.0 s while it imported its libraries"

    asyncio.run(run())


@pytest.mark.parametrize("steps_before", [0, 1, 5, 100])
def test_one_paused_step_widens_the_bound_for_a_few_steps_at_the_most(steps_before: int) -> None:
    patience, _ = up()
    for seconds in [0.01] * steps_before + [15.0] + [0.01] * SETTLED:
        patience.stepped(seconds)
    assert patience.seconds == 1.5


def test_a_paused_step_that_nothing_follows_widens_the_bound_less_with_time() -> None:
    patience, clock = up()
    patience.stepped(15.0)
    clock.now += 300
    assert patience.seconds == STEPS.least_factor * 15.0


@given(st.lists(st.tuples(st.floats(7.0, 14.0), st.sampled_from([0.0, 1.0, 3600.0])), min_size=1, max_size=80))
def test_a_slow_model_that_never_beats_in_its_steps_is_borne(steps: list[tuple[float, float]]) -> None:
    patience, clock = up()
    patience.stepped(steps[0][0])
    for seconds, idle in steps:
        assert patience.seconds >= seconds
        patience.stepped(seconds)
        clock.now += idle


def test_silence_is_counted_in_ticks_not_by_the_clock() -> None:
    async def run() -> None:
        silence = Silence(0.5)
        counting = asyncio.create_task(silence.passes(lambda: 1000.0))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        began, loop.time = loop.time(), lambda: began + 3600.0  # type: ignore[method-assign]
        while not silence.seconds:
            await asyncio.sleep(0)
        assert silence.seconds == 0.5
        counting.cancel()

    asyncio.run(run())
