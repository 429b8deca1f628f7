"""What a worker process does before it is ready."""

from __future__ import annotations

import pytest

from dit_serve.models.options import ModelOptions
from dit_serve.service.wire.messages import Configure
from dit_serve.service.workers.process import load_all
from tests.service.fake import FakeDoor, FakeSample


class Door(FakeDoor):
    """Keeps the sizes of its batches."""

    def __init__(self, device: str) -> None:
        super().__init__(device=device)
        self.sizes: list[int] = []

    def step(self, samples: list[FakeSample], /) -> None:
        self.sizes.append(sum(sample.spec.sequences for sample in samples))
        super().step(samples)


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [2, 1, 2, 3, 4]), ("cuda:0", [2])])
def test_on_a_processor_each_size_of_a_batch_is_stepped_before_the_worker_is_ready(
    device: str, sizes: list[int]
) -> None:
    door = Door(device)

    def load(model: str, options: ModelOptions) -> Door:
        return door

    load_all(Configure(("fake-64",), max_batch_sequences=4), load, lambda message: None)
    assert door.sizes == sizes


def test_sizes_are_left_out_once_they_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dit_serve.service.workers.process.WARM_SECONDS", -1.0)
    door = Door("cpu")
    load_all(Configure(("fake-64",), max_batch_sequences=4), lambda model, options: door, lambda message: None)
    assert door.sizes == [2]
