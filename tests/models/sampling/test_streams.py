"""What is enqueued on the steps' stream, and in which order of waits; on stand-ins for the streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.sampling.stream import StepStream
from tests.models.checkpoints.folders import random_transformer, save_folder, share_embedders
from tests.models.sampling.slow_card import SlowCard

SPEC = SampleSpec(class_id=3, seed=1, steps=2)
FIRST, LAST = "steps wait for caller", "caller waits for steps"


class Stream:
    """Stands in for a CUDA stream, and writes down what it waits for."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} wait{'s' * (self.name == 'caller')} for {other.name}")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    transformer = random_transformer(classes=10)
    share_embedders(transformer)
    return load_pipeline(save_folder(tmp_path / "random", transformer), device="cpu", dtype="float32")


@pytest.fixture
def log(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the streams wait for and what is done on the steps', in order."""
    log: list[str] = []
    current = [Stream("caller", log)]

    @contextmanager
    def stream(other: Any) -> Iterator[None]:
        current.append(other)
        yield
        current.pop()

    def noted(what: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*arguments: Any) -> Any:
            log.append(f"{what} on {current[-1].name}")
            return work(*arguments)

        return noting

    monkeypatch.setattr(pipeline._stream, "_stream", Stream("steps", log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current[-1])
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(pipeline, "_preview", noted("preview", lambda latents: None))
    monkeypatch.setattr(pipeline._stream, "mark", noted("mark", lambda: None))
    for owner, name in ((pipeline._conditioning, "prepare"), (pipeline._slots, "fill"), (pipeline._slots, "run")):
        monkeypatch.setattr(owner, name, noted(name, getattr(owner, name)))
    return log


def test_noise_tables_steps_and_looks_are_in_one_order_between_the_caller_s_own_work(
    pipeline: Pipeline, log: list[str]
) -> None:
    sample = pipeline.begin(SPEC)
    assert log == [FIRST, "prepare on steps", "prepare on steps", "mark on steps", LAST]
    log.clear()
    pipeline.step([sample])
    assert log == [FIRST, "fill on steps", "run on steps", "mark on steps", LAST]
    log.clear()
    pipeline.preview(sample)
    assert log == [FIRST, "preview on steps", LAST]


def test_steps_are_captured_on_their_stream_and_decoding_is_not(pipeline: Pipeline, log: list[str]) -> None:
    made_on: list[str] = []

    def new_card() -> SlowCard:
        made_on.append(torch.cuda.current_stream(pipeline.device).name)  # type: ignore[attr-defined]
        return SlowCard()

    pipeline.warm_up(new_card)
    assert made_on == ["caller", "steps", "steps", "caller"]  # the decoder measured, ways, steps, the decoder
    assert {line for line in log if line.startswith("run")} == {"run on steps"}
    sample = pipeline.begin(SPEC)
    while not sample.is_done:
        pipeline.step([sample])
    log.clear()
    pipeline.decode([sample])
    assert log == []


def test_the_host_is_at_most_one_step_ahead() -> None:
    waited: list[int] = []
    stream = StepStream(torch.device("cpu"))
    for i in range(3):
        stream.keep_pace(SimpleNamespace(synchronize=lambda i=i: waited.append(i)))  # type: ignore[arg-type]
        assert waited == list(range(i))
