"""What only a card can show: steps come first, who reads or writes latents is in their order, no look holds them up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.sampling.card import CudaCard

pytestmark = pytest.mark.gpu

SPEC = SampleSpec(class_id=3, seed=1, steps=4, sampler="ddpm")
LONG = 1 << 30  # clocks of the card, half a second or more: what is enqueued behind them has not begun


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    pipeline = load_pipeline(folder, device="cuda")
    pipeline.warm_up()
    sample = pipeline.begin(SPEC)
    pipeline.step([sample])
    pipeline.preview(sample)()  # what is made once is made
    return pipeline


def latents_after(pipeline: Pipeline, steps: int) -> torch.Tensor:
    sample = pipeline.begin(SPEC)
    for _ in range(steps):
        pipeline.step([sample])
    torch.cuda.synchronize(pipeline.device)
    return sample.latents


def test_steps_have_a_higher_priority_than_decoding(pipeline: Pipeline) -> None:
    with pipeline._stream.current():
        steps = CudaCard(pipeline.device)._stream.priority
    assert steps < CudaCard(pipeline.device)._stream.priority == 0


def test_a_step_comes_after_weights_that_are_still_being_written(folder: Path, pipeline: Pipeline) -> None:
    late = load_pipeline(folder, device="cuda")
    weight = late.model.patch_embed.weight
    kept = weight.clone()
    weight.zero_()
    torch.cuda._sleep(LONG)  # type: ignore[no-untyped-call]
    weight.copy_(kept)
    sample = late.begin(SPEC)
    late.step([sample])
    assert torch.equal(sample.latents, latents_after(pipeline, 1))


def test_latents_read_on_the_caller_s_stream_are_whole(pipeline: Pipeline) -> None:
    expected = latents_after(pipeline, 1).clone()
    with pipeline._stream.current():
        torch.cuda._sleep(LONG)  # type: ignore[no-untyped-call]
    sample = pipeline.begin(SPEC)
    pipeline.step([sample])
    copied = sample.latents.clone()
    del sample
    pipeline.step([pipeline.begin(SampleSpec(class_id=4, seed=2))])  # may take the memory that was read
    assert torch.equal(copied, expected)


def test_latents_written_on_the_caller_s_stream_are_what_the_step_reads(pipeline: Pipeline) -> None:
    sample, other = pipeline.begin(SPEC), pipeline.begin(SampleSpec(class_id=SPEC.class_id, seed=9, steps=4))
    sample.table = other.table  # no noise: latents alone decide
    torch.cuda._sleep(LONG)  # type: ignore[no-untyped-call]
    sample.latents.copy_(other.latents)
    pipeline.step([sample])
    pipeline.step([other])
    assert torch.equal(sample.latents, other.latents)


def test_a_look_is_taken_without_waiting_and_read_whole_in_another_thread(pipeline: Pipeline) -> None:
    sample = pipeline.begin(SPEC)
    torch.cuda.synchronize(pipeline.device)
    torch.cuda._sleep(LONG)  # type: ignore[no-untyped-call]
    pipeline.step([sample])
    look = pipeline.preview(sample)
    assert sample.ready is not None
    assert not sample.ready.query()  # the host is ahead still
    x0 = sample.x0
    for _ in range(3):
        pipeline.step([sample])
    with ThreadPoolExecutor(1) as thread:
        assert np.array_equal(thread.submit(look).result(), pipeline._preview._colours(x0))  # type: ignore[union-attr]
    assert not np.array_equal(look(), pipeline.preview(sample)())
