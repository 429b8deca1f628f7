"""What a CudaCard asks of torch, on stand-ins for its CUDA objects: captures that fail, and times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dit_serve.models.sampling.card import REPLAYS, TIMED, WARM_RUNS, CudaCard

DEVICE = torch.device("cuda", 1)


class Torch:
    """Stands in for the CUDA part of torch, and writes down what it is asked.

    Attributes:
        ends_itself: whether a capture that fails tells the allocator of its end, as newer versions do.
        clock: milliseconds between the two events of each replay.
        asked: what was called, in order.
        pools: of the captures.
        priorities: of the streams.
    """

    def __init__(self) -> None:
        self.ends_itself = False
        self.clock: Iterator[float] = itertools.repeat(1.0)
        self.asked: list[tuple[Any, ...]] = []
        self.pools: list[tuple[int, int]] = []
        self.priorities: list[int] = []
        self._handles = ((0, i) for i in itertools.count(1))
        self._under_way: set[tuple[int, int]] = set()

    def new_stream(self, device: torch.device, *, priority: int) -> SimpleNamespace:
        self.priorities.append(priority)
        return SimpleNamespace(wait_stream=lambda other: None, device_index=device.index)

    def graph_pool_handle(self) -> tuple[int, int]:
        return next(self._handles)

    def new_graph(self) -> SimpleNamespace:
        return SimpleNamespace(
            reset=lambda: self.asked.append(("reset",)), replay=lambda: self.asked.append(("replay",))
        )

    @contextmanager
    def graph(self, graph: object, *, pool: tuple[int, int], stream: object) -> Iterator[None]:
        self.pools.append(pool)
        self._under_way.add(pool)
        try:
            yield
        except RuntimeError:
            if self.ends_itself:
                self._under_way.remove(pool)
            raise
        self._under_way.remove(pool)

    def end(self, device: int, pool: tuple[int, int]) -> None:
        if pool not in self._under_way:
            raise RuntimeError("not currently recording to mempool_id")
        self._under_way.remove(pool)
        self.asked.append(("end", device, pool))

    def release(self, device: int, pool: tuple[int, int]) -> None:
        self.asked.append(("release", device, pool))

    def new_event(self, *, enable_timing: bool) -> SimpleNamespace:
        assert enable_timing
        return SimpleNamespace(
            record=lambda stream: None, synchronize=lambda: None, elapsed_time=lambda other: next(self.clock)
        )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Torch:
    fake, current = Torch(), SimpleNamespace(wait_stream=lambda other: None, priority=-3)
    for name, value in {
        "Stream": fake.new_stream, "current_stream": lambda device: current,
        "stream": nullcontext, "CUDAGraph": fake.new_graph, "graph": fake.graph,
        "graph_pool_handle": fake.graph_pool_handle, "Event": fake.new_event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fake.end)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", fake.release)
    return fake


def failing_at(run: int) -> Callable[[], None]:
    """Work that runs out of memory the n-th time, from 0."""
    runs = itertools.count()

    def work() -> None:
        if next(runs) == run:
            raise torch.OutOfMemoryError("no memory left")

    return work


def test_captures_of_one_card_share_a_pool(stand_in: Torch) -> None:
    card = CudaCard(DEVICE)
    replays = [card.capture(lambda: "output") for _ in range(2)]
    assert stand_in.pools == [(0, 1), (0, 1)]
    assert [replay() for replay in replays] == ["output"] * 2
    assert stand_in.asked == [("replay",)] * 2


def test_a_card_captures_with_the_priority_of_the_stream_that_it_is_made_on(stand_in: Torch) -> None:
    CudaCard(DEVICE)
    assert stand_in.priorities == [-3]


def test_the_allocator_is_told_that_a_capture_has_failed_and_the_next_one_has_another_pool(stand_in: Torch) -> None:
    card = CudaCard(DEVICE)
    with pytest.raises(torch.OutOfMemoryError):
        card.capture(failing_at(WARM_RUNS))
    assert stand_in.asked == [("reset",), ("end", 1, (0, 1)), ("release", 1, (0, 1))]
    card.capture(lambda: None)
    assert stand_in.pools == [(0, 1), (0, 2)]


def test_it_is_told_nothing_where_torch_has_told_it(stand_in: Torch) -> None:
    stand_in.ends_itself = True
    with pytest.raises(torch.OutOfMemoryError):
        CudaCard(DEVICE).capture(failing_at(WARM_RUNS))
    assert stand_in.asked == [("reset",)]


def test_work_that_fails_before_it_is_captured_is_no_capture_under_way(stand_in: Torch) -> None:
    card = CudaCard(DEVICE)
    with pytest.raises(torch.OutOfMemoryError):
        card.capture(failing_at(0))
    assert stand_in.asked == [("reset",)]


def test_a_time_is_the_median_replay_s_share_of_one_work(stand_in: Torch) -> None:
    stand_in.clock = iter([20.0, 900.0, 30.0])
    runs: list[int] = []
    assert CudaCard(DEVICE).milliseconds(lambda: runs.append(1)) == 30.0 / TIMED
    assert len(runs) == (WARM_RUNS + 1) * TIMED
    assert stand_in.asked == [("replay",)] * (1 + REPLAYS)


def test_a_graph_that_is_timed_leaves_the_pool_of_the_others_alone(stand_in: Torch) -> None:
    card = CudaCard(DEVICE)
    card.capture(lambda: None)
    card.milliseconds(lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        card.milliseconds(failing_at(WARM_RUNS * TIMED))
    card.capture(lambda: None)
    assert stand_in.pools == [(0, 1), (0, 2), (0, 3), (0, 1)]
