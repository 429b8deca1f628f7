"""`Pipeline.generate` on a card: a batch is decoded while the next one takes its steps. No card is needed to see it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve import Pipeline, load_pipeline
from dit_serve.models.sampling.decoding import decodes_beside
from dit_serve.models.sampling.sample import Sample


@pytest.fixture
def beside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline that decodes beside its steps, as on a card, and has room for two images at once."""
    monkeypatch.setattr("dit_serve.models.pipeline.decodes_beside", lambda device: True)
    pipeline = load_pipeline(folder, device="cpu", dtype="float32")
    pipeline._graphs.max_sequences = 4
    return pipeline


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_generate_decodes_a_batch_while_the_next_one_takes_its_steps(
    beside: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = [threading.Event() for _ in range(4)]  # of batches of two images
    decode, step, order = beside.decode, beside.step, []

    def waiting(samples: Sequence[Sample]) -> list[np.ndarray]:
        number = samples[0].spec.seed // 2
        order.append(len(samples))
        if number < 3:
            assert stepped[number + 1].wait(60), "the next batch does not begin before this one is decoded"
        return decode(samples)

    def telling(samples: Sequence[Sample]) -> None:
        step(samples)
        stepped[samples[0].spec.seed // 2].set()

    monkeypatch.setattr(beside, "decode", waiting)
    monkeypatch.setattr(beside, "step", telling)
    images = beside.generate([1, 2, 3, 4, 5, 6, 7], list(range(7)), steps=3)
    plain = load_pipeline(folder, device="cpu", dtype="float32")
    expected = plain.generate([1, 2, 3, 4, 5, 6, 7], list(range(7)), steps=3)
    assert order == [2, 2, 2, 1]
    assert np.array_equal(images, expected)
    assert decoding_threads() == []


def test_what_decoding_raises_reaches_the_caller_before_all_is_walked(
    beside: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked = []

    def overflows(samples: Sequence[Sample]) -> None:
        raise FloatingPointError("the autoencoder's image is not finite")

    step = beside.step
    monkeypatch.setattr(beside, "step", lambda samples: (walked.append(samples[0].spec.seed), step(samples)))
    monkeypatch.setattr(beside, "decode", overflows)
    with pytest.raises(FloatingPointError, match="image is not finite"):
        beside.generate([1] * 8, list(range(8)), steps=1)
    assert walked == [0, 2]
    assert decoding_threads() == []


def test_a_step_that_raises_leaves_no_decoding_behind(beside: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    step, decode, decoded = beside.step, beside.decode, []

    def breaks(samples: Sequence[Sample]) -> None:
        if samples[0].spec.seed == 2:
            raise torch.OutOfMemoryError("no memory left")
        step(samples)

    monkeypatch.setattr(beside, "step", breaks)
    monkeypatch.setattr(beside, "decode", lambda samples: decoded.append(len(decode(samples))))
    with pytest.raises(torch.OutOfMemoryError):
        beside.generate([1] * 4, list(range(4)), steps=1)
    assert decoded == [2]
    assert decoding_threads() == []


def test_generate_decodes_in_its_own_thread_where_one_batch_holds_all_or_no_card_is_there(
    beside: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, seen = beside.decode, []

    def looks(samples: Sequence[Sample]) -> list[np.ndarray]:
        seen.append((len(samples), threading.current_thread() is threading.main_thread()))
        return decode(samples)

    monkeypatch.setattr(beside, "decode", looks)
    beside.generate([1, 2], [1, 2], steps=1)
    monkeypatch.setattr("dit_serve.models.pipeline.decodes_beside", decodes_beside)
    beside.generate([1, 2, 3], [1, 2, 3], steps=1)
    assert seen == [(2, True), (3, True)]
    assert decodes_beside(torch.device("cuda"))
