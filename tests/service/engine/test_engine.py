"""The loop: admit, step, retire, and whom a failure hits."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.options import SampleSpec
from dit_serve.service.engine.engine import Cancel, Engine, EngineOptions, Inbox, Stop
from dit_serve.service.engine.hangs import Pulse
from dit_serve.service.wire.job import Event, Job, JobEnd, Outcome, Started, Stepped
from tests.service.fake import RAISES, FakeDoor, FakeSample


def job(number: int, class_id: int = 0, steps: int = 3, scale: float = 4.0, model: str = "fake-64") -> Job:
    return Job(number, "r", model, SampleSpec(class_id, number, steps, scale, "ddim"))


class World:
    """An engine on fake doors that stops after the last of its jobs has ended."""

    def __init__(
        self, jobs: Sequence[Job], *, door: FakeDoor | None = None, places: int = 8, fill: bool = True,
        beside: bool = True,
    ) -> None:
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self.on_event: Callable[[Event], None] = lambda event: None
        self._open = {each.id for each in jobs}
        doors = {"fake-64": door or FakeDoor(), "fake-128": door or FakeDoor("fake-128")}
        self.inbox: Inbox = queue.SimpleQueue()
        options = EngineOptions(places, fill, decodes_beside=beside)
        self.engine = Engine(
            doors, inbox=self.inbox, encode=self._encode, post=self._post, options=options, pulse=Pulse(60.0)
        )
        for each in jobs:
            self.inbox.put(each)

    def run(self) -> list[Event]:
        self.engine.run()
        return self.events

    def _encode(self, job: Job, pixels: Any) -> bytes:
        return bytes(pixels[0, 0])

    def _post(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)
        self.on_event(event)
        if isinstance(event, JobEnd):
            with self._lock:
                self._open.remove(event.job_id)
                if not self._open:
                    self.inbox.put(Stop())


def outcomes(events: list[Event]) -> dict[int, Outcome]:
    return {event.job_id: event.outcome for event in events if isinstance(event, JobEnd)}


def steps(events: list[Event]) -> list[Stepped]:
    return [event for event in events if isinstance(event, Stepped)]


def test_a_job_starts_steps_and_ends() -> None:
    events = World([job(1, steps=3)]).run()
    assert [type(event) for event in events] == [Started, Stepped, Stepped, Stepped, JobEnd]
    assert outcomes(events) == {1: Outcome.COMPLETED}


def test_samples_of_different_classes_steps_scales_and_samplers_share_a_step() -> None:
    events = World([job(1, 0, 2, 4.0), job(2, 1, 5, 1.0), job(3, 2, 3, 1.5)]).run()
    first = steps(events)[0]
    assert (set(first.job_ids), first.sequences) == ({1, 2, 3}, 5)


def test_a_job_joins_between_two_steps_of_others() -> None:
    world = World([job(1, steps=4), job(2, steps=1), job(3, steps=2)], places=4)
    together = [set(event.job_ids) for event in steps(world.run())]
    assert together == [{1, 2}, {1, 3}, {1, 3}, {1}]


def test_the_batch_setting_is_the_size_of_the_batch() -> None:
    for places in (2, 4, 16):
        events = World([job(number) for number in range(8)], places=places).run()
        assert max(event.sequences for event in steps(events)) == places


def test_one_place_at_a_time_serves_all() -> None:
    assert set(outcomes(World([job(k) for k in range(5)], places=2).run()).values()) == {Outcome.COMPLETED}


def test_models_take_turns() -> None:
    events = World([job(1, steps=3, model="fake-64"), job(2, steps=3, model="fake-128")]).run()
    assert [event.model for event in steps(events)] == ["fake-64", "fake-128"] * 3


def test_a_batch_is_no_larger_than_its_model_has_room_for() -> None:
    door = FakeDoor()
    door.max_sequences = 4
    events = World([job(number) for number in range(6)], door=door, places=16).run()
    assert max(event.sequences for event in steps(events)) == 4


class SlowToDecode(FakeDoor):
    """Decodes the first image only after another job has taken a step."""

    def __init__(self) -> None:
        super().__init__()
        self.has_decoded_early = False
        self.others_stepped = threading.Event()

    def step(self, samples: list[FakeSample], /) -> None:
        super().step(samples)
        if any(sample.i > 1 for sample in samples):
            self.others_stepped.set()

    def decode(self, samples: list[FakeSample], /) -> list[Any]:
        self.has_decoded_early |= not self.others_stepped.wait(60)
        return list(super().decode(samples))


def test_decoding_does_not_hold_up_the_next_steps() -> None:
    door = SlowToDecode()
    events = World([job(1, steps=1), job(2, steps=3)], door=door).run()
    assert outcomes(events) == {1: Outcome.COMPLETED, 2: Outcome.COMPLETED}
    assert not door.has_decoded_early


class Threads(FakeDoor):
    """Notes which threads step and which decode."""

    def __init__(self) -> None:
        super().__init__()
        self.stepping: set[int] = set()
        self.decoding: set[int] = set()

    def step(self, samples: list[FakeSample], /) -> None:
        self.stepping.add(threading.get_ident())
        super().step(samples)

    def decode(self, samples: list[FakeSample], /) -> list[Any]:
        self.decoding.add(threading.get_ident())
        return list(super().decode(samples))


@pytest.mark.parametrize("beside", [True, False])
def test_pictures_are_decoded_in_the_loop_unless_a_card_does_the_work(beside: bool) -> None:
    door = Threads()
    events = World([job(number, steps=1 + number % 3) for number in range(6)], door=door, beside=beside).run()
    assert set(outcomes(events).values()) == {Outcome.COMPLETED}
    assert (door.stepping == door.decoding) is not beside


class LeftWhileDecoding(FakeDoor):
    """While the first image is decoded, the client of another one that is done leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.leave: Callable[[], None] = lambda: None
        self.decoded: list[int] = []

    def decode(self, samples: list[FakeSample], /) -> list[Any]:
        if not self.decoded:
            self.leave()
        self.decoded += [sample.spec.seed for sample in samples]
        return list(super().decode(samples))


def test_who_leaves_before_its_turn_to_be_decoded_costs_no_decoding() -> None:
    door = LeftWhileDecoding()
    world = World([job(number, steps=2) for number in (1, 2, 3)], door=door, beside=False)
    door.leave = lambda: world.inbox.put(Cancel(3))
    events = world.run()
    assert outcomes(events) == {1: Outcome.COMPLETED, 2: Outcome.COMPLETED, 3: Outcome.CANCELLED}
    assert door.decoded == [1, 2]
    [end] = [event for event in events if isinstance(event, JobEnd) and event.job_id == 3]
    assert end.timings.decode > 0  # its wait


@pytest.mark.parametrize("beside", [True, False])
def test_the_end_of_a_job_comes_after_its_last_step(beside: bool) -> None:
    events = World([job(number, steps=number + 1) for number in range(8)], places=6, beside=beside).run()

    def is_about(event: Event, number: int) -> bool:
        return number in getattr(event, "job_ids", ()) or getattr(event, "job_id", None) == number

    for number in range(8):
        mine = [event for event in events if is_about(event, number)]
        assert [type(event) for event in mine] == [Started, *[Stepped] * (number + 1), JobEnd]


def test_a_running_job_is_cancelled_at_the_next_step_and_its_place_is_taken() -> None:
    world = World([job(1, steps=100), job(2, steps=2)], places=2)
    world.on_event = lambda event: world.inbox.put(Cancel(1)) if isinstance(event, Stepped) else None
    events = world.run()
    assert outcomes(events) == {1: Outcome.CANCELLED, 2: Outcome.COMPLETED}
    assert [event.job_ids for event in steps(events)] == [(1,), (2,), (2,)]


def test_a_waiting_job_is_cancelled() -> None:
    world = World([job(1), job(2)], places=2)
    world.inbox.put(Cancel(2))
    assert outcomes(world.run()) == {1: Outcome.COMPLETED, 2: Outcome.CANCELLED}


def test_cancelling_one_job_harms_no_other_and_an_unknown_one_none() -> None:
    world = World([job(number) for number in range(4)])
    for number in (2, 2, 99):
        world.inbox.put(Cancel(number))
    ended = outcomes(world.run())
    assert [number for number, outcome in ended.items() if outcome is Outcome.CANCELLED] == [2]


def test_a_job_cancelled_while_its_batch_forms_harms_no_other() -> None:
    world = World([job(number) for number in range(4)])
    world.on_event = lambda event: world.inbox.put(Cancel(2)) if isinstance(event, Started) else None
    ended = outcomes(world.run())
    assert [number for number, outcome in ended.items() if outcome is Outcome.CANCELLED] == [2]
    assert sum(outcome is Outcome.COMPLETED for outcome in ended.values()) == 3


def test_progress_is_monotone() -> None:
    events = World([job(number, steps=number + 1) for number in range(6)], places=5).run()
    for number in range(6):
        assert sum(number in event.job_ids for event in steps(events)) == number + 1


MIX = st.lists(
    st.tuples(st.sampled_from([0, 1, RAISES]), st.integers(1, 6), st.sampled_from([1.0, 1.5, 4.0]),
              st.sampled_from(["fake-64", "fake-128"])),
    min_size=1, max_size=20,
)


@given(MIX, st.integers(2, 9), st.booleans())
def test_every_job_ends_exactly_once_and_only_the_guilty_fail(
    mix: list[tuple[int, int, float, str]], places: int, fill: bool
) -> None:
    jobs = [job(number, *each) for number, each in enumerate(mix)]
    events = World(jobs, places=places, fill=fill).run()
    expected = {each.id: Outcome.FAILED if each.spec.class_id == RAISES else Outcome.COMPLETED for each in jobs}
    assert outcomes(events) == expected
    assert sum(isinstance(event, JobEnd) for event in events) == len(jobs)


@given(MIX, st.integers(2, 9))
def test_an_image_does_not_depend_on_its_neighbours(mix: list[tuple[int, int, float, str]], places: int) -> None:
    jobs = [job(number, *each) for number, each in enumerate(mix)]
    together = {event.job_id: event.png for event in World(jobs, places=places).run() if isinstance(event, JobEnd)}
    alone = {each.id: end.png for each in jobs for end in World([each]).run() if isinstance(end, JobEnd)}
    assert together == alone
