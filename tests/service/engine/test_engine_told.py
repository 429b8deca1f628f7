"""What the engine tells of its batches beside their steps: their places, the cache, and how often they were cut."""

from __future__ import annotations

from dit_serve.service.wire.job import Split
from tests.service.engine.test_engine import World, job, steps
from tests.service.fake import RAISES, FakeDoor, FakeSample


class OutOfMemoryError(RuntimeError):
    """Of the name of torch's."""


class CachingDoor(FakeDoor):
    """Finds all but the first step's modulations."""

    def __init__(self) -> None:
        super().__init__()
        self.modulation_counts = (0, 0)

    def step(self, samples: list[FakeSample], /) -> None:
        super().step(samples)
        hits, misses = self.modulation_counts
        self.modulation_counts = (hits + 2, misses) if hits + misses else (0, 2)


class SmallDoor(FakeDoor):
    """Has memory for one sample."""

    def step(self, samples: list[FakeSample], /) -> None:
        if len(samples) > 1:
            raise OutOfMemoryError
        super().step(samples)


def test_a_step_tells_the_places_that_its_batch_had() -> None:
    told = steps(World([job(1), job(2, scale=1.0)], places=16).run())
    assert {(event.sequences, event.places) for event in told} == {(3, 16)}


def test_a_step_tells_what_the_cache_had_since_the_step_before() -> None:
    told = steps(World([job(1, steps=3)], door=CachingDoor()).run())
    assert [(event.cache_hits, event.cache_misses) for event in told] == [(0, 2), (2, 0), (2, 0)]


def test_a_batch_that_is_cut_for_an_error_is_told() -> None:
    events = World([job(1, RAISES), job(2), job(3), job(4)]).run()
    assert [event for event in events if isinstance(event, Split)] == [Split("fake-64", bisections=2, memory_splits=0)]


def test_a_batch_that_is_cut_for_memory_is_told_and_the_next_ones_had_fewer_places() -> None:
    events = World([job(1, steps=2), job(2, steps=2)], door=SmallDoor()).run()
    assert [event for event in events if isinstance(event, Split)] == [Split("fake-64", bisections=0, memory_splits=1)]
    assert [event.places for event in steps(events)] == [2, 2, 2]


def test_a_batch_that_is_whole_is_told_as_such() -> None:
    assert not [event for event in World([job(1), job(2)]).run() if isinstance(event, Split)]
