"""Whom a failure in the loop hits: the job that causes it, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from dit_serve.models.options import SampleSpec
from dit_serve.service.wire.job import Event, Job, JobEnd, Outcome, Shrunk
from tests.service.engine.test_engine import World, job, outcomes, steps
from tests.service.fake import RAISES, FakeDoor, FakeSample


def test_a_failing_step_fails_its_own_sample_only() -> None:
    events = World([job(1), job(2, RAISES), job(3), job(4), job(5, scale=1)], places=16).run()
    assert outcomes(events).pop(2) is Outcome.FAILED
    assert {number for number, outcome in outcomes(events).items() if outcome is Outcome.COMPLETED} == {1, 3, 4, 5}


def test_neighbours_of_a_failing_sample_get_the_same_bytes() -> None:
    def image(events: list[Event]) -> bytes:
        return next(event.png for event in events if isinstance(event, JobEnd) and event.job_id == 1)

    assert image(World([job(1), job(2, RAISES), job(3)]).run()) == image(World([job(1)]).run())


def test_a_failure_tells_its_reason() -> None:
    (end,) = [event for event in World([job(1, RAISES)]).run() if isinstance(event, JobEnd)]
    assert end.reason == "RuntimeError: this class raises in its step"


class FailsToBegin(FakeDoor):
    def begin(self, spec: Job, /) -> FakeSample:
        if spec.class_id == 1:
            raise ValueError("no such class")
        return super().begin(spec)


class FailsToDecode(FakeDoor):
    def decode(self, samples: list[FakeSample], /) -> list[Any]:
        if any(sample.spec.class_id == 1 for sample in samples):
            raise ValueError("cannot decode")
        return list(super().decode(samples))


@pytest.mark.parametrize("door", [FailsToBegin(), FailsToDecode()])
def test_a_failure_elsewhere_hits_its_own_job_only(door: FakeDoor) -> None:
    events = World([job(1), job(2, 1), job(3)], door=door).run()
    assert outcomes(events) == {1: Outcome.COMPLETED, 2: Outcome.FAILED, 3: Outcome.COMPLETED}


class OutOfMemoryError(RuntimeError):
    """Of the name of torch's."""


class SmallMemory(FakeDoor):
    """Has memory for so many samples at once; one that `RAISES` finds none at all."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.tried: list[int] = []

    def step(self, samples: list[FakeSample], /) -> None:
        self.tried.append(len(samples))
        if len(samples) > self.most or any(sample.spec.class_id == RAISES for sample in samples):
            raise OutOfMemoryError
        super().step(samples)


def shrunk(events: list[Event]) -> list[int]:
    return [event.max_batch_sequences for event in events if isinstance(event, Shrunk)]


def test_out_of_memory_halves_the_batch_for_good_and_fails_nobody() -> None:
    door = SmallMemory(3)
    events = World([job(number) for number in range(12)], door=door, places=16).run()
    assert set(outcomes(events).values()) == {Outcome.COMPLETED}
    assert shrunk(events) == [4]  # two guided samples, after eight and four were too many
    assert door.tried[:4] == [8, 4, 2, 2]
    assert max(door.tried[6:]) == 2


class AcceleratorError(RuntimeError):
    """Of the name of torch's."""


class Lost(FakeDoor):
    """Loses its device in one of its methods."""

    def __init__(self, where: str) -> None:
        super().__init__()
        setattr(self, where, self._lose)

    def _lose(self, *arguments: Any) -> Any:
        raise AcceleratorError("an illegal memory access was encountered")


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("where", ["begin", "step", "decode"])
def test_a_lost_device_ends_the_loop_and_fails_no_job(where: str, beside: bool) -> None:
    world = World([job(number) for number in range(6)], door=Lost(where), beside=beside)
    with pytest.raises(AcceleratorError):
        world.run()
    assert outcomes(world.events) == {}


def test_the_lower_cap_is_of_its_model_alone() -> None:
    jobs = [job(number, model="fake-64" if number < 8 else "fake-128") for number in range(16)]
    world = World(jobs, places=16)
    world.engine._doors = {"fake-64": SmallMemory(3), "fake-128": FakeDoor()}
    events = world.run()
    assert max(event.sequences for event in steps(events) if event.model == "fake-128") == 16
    assert set(outcomes(events).values()) == {Outcome.COMPLETED}


def test_a_sample_that_never_finds_memory_fails_alone_and_lowers_no_cap() -> None:
    jobs = [job(number, RAISES if number == 3 else 0) for number in range(8)]
    events = World(jobs, door=SmallMemory(8), places=16).run()
    assert [number for number, outcome in outcomes(events).items() if outcome is Outcome.FAILED] == [3]
    assert shrunk(events) == []


def test_a_failing_encoder_fails_its_job() -> None:
    world = World([job(1)])
    world.engine._encode = lambda job, pixels: b"" + pixels  # type: ignore[method-assign]
    assert outcomes(world.run()) == {1: Outcome.FAILED}


class Ungroupable(Job):
    """A job that the grouping fails for."""

    @property
    def group(self) -> tuple[int, float]:
        raise TypeError("no group")


def test_an_exception_in_the_grouping_fails_its_job_alone() -> None:
    events = World([job(1), Ungroupable(2, "r", "fake-64", SampleSpec(0, 0, 3)), job(3)]).run()
    assert outcomes(events) == {1: Outcome.COMPLETED, 2: Outcome.FAILED, 3: Outcome.COMPLETED}
