"""Who is refused, and what he is told: played on a clock of its own, with workers that pause and slow down."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dit_serve.models.options import SampleSpec
from dit_serve.service.errors import DeadlineTooShort, Problem, QueueFull
from dit_serve.service.front.admission import COMING_SECONDS, PROMISES_SEEN, Promises
from dit_serve.service.front.ledger import Accepted
from tests.service.front.played import PLACES, Played

DECODE_SECONDS = 0.02


def step_seconds(sequences: int) -> float:
    return 0.01 + 0.003 * sequences


class World(Played):
    """A service whose machine may be slow for a while, or stop in the next steps."""

    def __init__(self, workers: int = 1, *, bound: int = 512, noise: float = 0.0) -> None:
        self.slowness, self.pauses = 1.0, [0.0]
        source = Random(7)

        def step(_: str, sequences: int) -> float:
            pause = self.pauses.pop() if len(self.pauses) > 1 else 0.0
            return step_seconds(sequences) * self.slowness * math.exp(source.gauss(0, noise)) + pause

        super().__init__(workers, ["a", "b"], step, lambda _: DECODE_SECONDS * self.slowness, bound)

    def accept(self, model: str = "a", **request: float) -> list[Accepted]:
        """A request that is accepted."""
        answer = self.ask(model, **request)  # type: ignore[arg-type]
        assert isinstance(answer, list), answer
        return answer

    def refuse(self, model: str = "a", **request: float) -> Problem:
        """A request that is refused, with a time to come back."""
        answer = self.ask(model, **request)  # type: ignore[arg-type]
        assert isinstance(answer, Problem)
        assert answer.retry_after is not None
        assert 0 < answer.retry_after < math.inf
        return answer

    def learn(self) -> None:
        """Makes some images."""
        self.accept(steps=30)
        self.run()


def played(test: Callable[[World], None], **world: float) -> None:
    """Plays a test inside an event loop, as promises need one."""

    async def run() -> None:
        test(World(**world))  # type: ignore[arg-type]

    asyncio.run(run())


def test_before_anything_was_measured_nothing_is_too_late() -> None:
    def test(world: World) -> None:
        for _ in range(20):
            world.accept(steps=1000, deadline=0.01)

    played(test)


def test_a_batch_is_judged_by_the_models_of_it_that_are_known() -> None:
    def test(world: World) -> None:
        world.learn()  # of "a" alone
        world.accept(steps=10)  # with nothing to do it tries anything
        known, unknown = ("a", SampleSpec(0, 0, 100)), ("b", SampleSpec(0, 0, 1000))
        late = world.ask_all([unknown, known, known], deadline=0.5)
        assert isinstance(late, DeadlineTooShort)
        assert late.retry_after is not None
        assert isinstance(world.ask_all([unknown, unknown], deadline=0.5), list)
        assert isinstance(world.ask_all([unknown, known], deadline=60.0), list)

    played(test)


def test_what_comes_too_late_is_refused_and_told_when_it_will_not() -> None:
    def test(world: World) -> None:
        world.learn()
        for _ in range(3 * PLACES):
            world.accept(steps=100)
        refused = world.refuse(steps=10, deadline=1.0)
        assert isinstance(refused, DeadlineTooShort)
        assert refused.retry_after is not None
        world.run(world.now + refused.retry_after)
        assert world.accept(steps=10, deadline=1.0)

    played(test)


def test_a_service_with_nothing_to_do_tries_whatever_it_is_asked() -> None:
    def test(world: World) -> None:
        world.learn()
        world.accept(steps=1000, deadline=0.1)
        world.refuse(steps=1000, deadline=0.1)
        world.run()
        world.accept(steps=1000, deadline=0.1)

    played(test)


def test_a_model_that_has_had_no_work_for_long_is_tried_beside_the_work_of_another() -> None:
    def test(world: World) -> None:
        world.pauses += [20.0] * 5
        world.accept("b", steps=5)
        world.run()
        world.accept("a", steps=1000)
        world.refuse("b", steps=10, deadline=2.0)
        world.run(world.now + 6)
        (accepted,) = world.accept("b", steps=10, deadline=2.0)
        world.run(world.now + 2)
        assert accepted.given_up is None
        world.accept("b", steps=10, deadline=2.0)

    played(test)


PRESSURE = st.lists(
    st.one_of(
        st.tuples(st.just("load"), st.integers(1, 60)),
        st.tuples(st.just("deadlines"), st.integers(1, 3000)),
        st.tuples(st.just("pause"), st.integers(1, 30)),
        st.tuples(st.just("slow"), st.integers(1, 300)),
        st.tuples(st.just("time"), st.integers(1, 20)),
    ),
    max_size=12,
)


def press(world: World, what: str, size: int) -> None:
    """One thing that happens to a service."""
    model = "ab"[size % 2]
    match what:
        case "load":
            world.ask(model, steps=size, count=1 + size % 16)
        case "deadlines":
            for _ in range(4):
                world.ask(model, steps=1 + size % 40, deadline=size / 1e3)
        case "pause":
            world.pauses += [float(size)] * (1 + size % 3)
        case "slow":
            world.slowness = float(size)
        case _:
            world.run(world.now + size)


def recover(world: World, pressure: list[tuple[str, int]]) -> None:
    """All of that, until the work is done and the machine as fast as ever."""
    for what, size in pressure:
        press(world, what, size)
    world.run()
    world.slowness, world.pauses = 1.0, [0.0]


@settings(max_examples=60)
@given(PRESSURE, st.integers(1, 2), st.integers(1, 100), st.integers(1, 4))
def test_whatever_has_happened_an_idle_service_admits_what_it_can_do(
    pressure: list[tuple[str, int]], workers: int, steps: int, count: int
) -> None:
    def test(world: World) -> None:
        recover(world, pressure)
        world.run(world.now + 5)
        seconds = steps * step_seconds(2 * count) + count * DECODE_SECONDS
        for model in "ab":
            accepted = world.accept(model, steps=steps, count=count, deadline=1.1 * seconds)
            world.run()
            assert all(each.given_up is None for each in accepted)

    played(test, workers=workers)


@settings(max_examples=40)
@given(PRESSURE, st.integers(1, 100))
def test_whatever_has_happened_a_service_with_one_long_job_admits_what_it_can_do(
    pressure: list[tuple[str, int]], steps: int
) -> None:
    def test(world: World) -> None:
        recover(world, pressure)
        world.accept("a", steps=1000)
        world.run(world.now + 5)
        for model in "ab":
            seconds = steps * (step_seconds(4) + step_seconds(2)) + DECODE_SECONDS
            (accepted,) = world.accept(model, steps=steps, deadline=2 * seconds)
            world.run(world.now + 2 * seconds)
            assert accepted.given_up is None

    played(test)


@settings(max_examples=40)
@given(PRESSURE, st.integers(1, 1000), st.integers(1, 16), st.floats(0.001, 100))
def test_whatever_has_happened_a_refusal_says_when_to_come_back(
    pressure: list[tuple[str, int]], steps: int, count: int, deadline: float
) -> None:
    def test(world: World) -> None:
        for what, size in pressure:
            press(world, what, size)
        answer = world.ask("a", steps=steps, count=count, deadline=deadline)
        if isinstance(answer, Problem):
            assert answer.retry_after is not None
            assert 0 < answer.retry_after < 1e9

    played(test, bound=64)


def first_returns(world: World, clients: int, count: int = 1) -> int:
    """How many of a crowd that is refused are accepted when they come back, each at the time that it was told."""
    accepted: list[int] = []

    def come_back() -> None:
        accepted.append(isinstance(world.ask(steps=2, count=count), list))

    source = Random(3)
    for _ in range(clients):
        world.run(world.now + source.random() / 10)
        refused = world.refuse(steps=2, count=count)
        assert isinstance(refused, QueueFull)
        assert refused.retry_after is not None
        world.at(world.now + math.ceil(refused.retry_after), come_back)
    world.run()
    return sum(accepted)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("clients", "count"), [(1, 1), (20, 1), (20, 4)])
def test_under_long_jobs_those_who_come_back_when_they_were_told_are_accepted(
    workers: int, clients: int, count: int
) -> None:
    def test(world: World) -> None:
        world.learn()
        for _ in range(16):
            world.accept(steps=500, count=16)
        world.run(world.now + 1)
        assert first_returns(world, clients, count) >= 0.9 * clients

    played(test, workers=workers, noise=0.3)


def test_the_time_told_is_that_of_the_batchs_end() -> None:
    def test(world: World) -> None:
        world.learn()
        for _ in range(2):
            world.accept(steps=1000, count=16)
        world.run(world.now + 100 * step_seconds(PLACES))
        refused = world.refuse(steps=2)
        assert refused.retry_after is not None
        assert refused.retry_after == pytest.approx(1.1 * 900 * step_seconds(PLACES), rel=0.05)

    played(test, bound=64)


def test_who_does_not_come_back_is_reckoned_with_less_and_less() -> None:
    promises = Promises(most=1000)
    now = 0.0
    for _ in range(PROMISES_SEEN):
        promises.make(now, 10)
        now += COMING_SECONDS + 1
        promises.places(now)
    promises.make(now, 10)
    assert promises.places(now) == 0
    for _ in range(PROMISES_SEEN):
        promises.keep(10, now)
        promises.make(now, 10)
    assert promises.places(now) == 10


def test_no_more_is_promised_than_there_is() -> None:
    promises = Promises(most=100)
    for _ in range(1000):
        promises.make(5.0, 30)
        assert 30 <= promises.places(0.0) <= 100
