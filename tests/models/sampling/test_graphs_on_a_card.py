"""What only a card can show: replayed graphs give the eager step's bits, wait for nobody, and leave decoding beside."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.random_models import Sizes, write_folder
from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.architecture import Conditioned
from dit_serve.models.sampling.card import CudaCard
from dit_serve.models.sampling.sample import Sample
from tests.cards import no_waiting
from tests.models.conditioned import OTHERS, save_conditioned

pytestmark = pytest.mark.gpu

SPECS = tuple(
    SampleSpec(class_id=i, seed=i, steps=4 + i % 3, guidance_scale=scale, sampler=sampler)
    for i, (scale, sampler) in enumerate((scale, name) for scale in (1.0, 4.0) for name in ("ddim", "ddpm", "dpm++"))
)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    pipeline = load_pipeline(folder, device="cuda")
    pipeline.warm_up()
    return pipeline


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks of DiT-XL/2's width on as many tokens: what the kernels are tuned for."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    write_folder(folder, Sizes(layers=2, vae_channels=(32, 32, 32, 32), vae_layers=1), 32, 0, torch.device("cpu"))
    return folder


def walked(pipeline: Pipeline, spec: SampleSpec, company: int = 0) -> Sample:
    sample = pipeline.begin(spec)
    while not sample.is_done:
        others = [pipeline.begin(SampleSpec(i % 10, 100 + i, steps=2)) for i in range(company)]
        pipeline.step([*others[: company // 2], sample, *others[company // 2 :]])
    return sample


def test_all_buckets_are_captured_and_say_how_large_a_batch_may_be(pipeline: Pipeline) -> None:
    assert pipeline.buckets == (1, 2, 4, 8, 16, 32, 64)
    assert pipeline.max_sequences == 64


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sampler}-{spec.guidance_scale}")
def test_a_replayed_walk_is_the_eager_one_bit_for_bit(pipeline: Pipeline, folder: Path, spec: SampleSpec) -> None:
    eager = load_pipeline(folder, device="cuda")
    assert torch.equal(walked(pipeline, spec).latents, walked(eager, spec).latents)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sampler}-{spec.guidance_scale}")
def test_the_bucket_changes_no_bit(pipeline: Pipeline, spec: SampleSpec) -> None:
    alone = walked(pipeline, spec).latents
    for company in (1, 3, 7, 15, 30):
        assert torch.equal(walked(pipeline, spec, company).latents, alone), company


@pytest.mark.parametrize("conditioning", OTHERS)
def test_with_other_blocks_neither_graph_nor_bucket_changes_a_bit(conditioning: Conditioned, tmp_path: Path) -> None:
    save_conditioned(tmp_path / "x", conditioning)
    captured, eager = (load_pipeline(tmp_path / "x", device="cuda") for _ in range(2))
    captured.warm_up()
    assert captured.buckets == (1, 2, 4, 8, 16, 32, 64)
    for spec in SPECS:
        alone = walked(eager, spec).latents
        for company in (0, 1, 3, 7, 30):
            assert torch.equal(walked(captured, spec, company).latents, alone), (spec, company)


def test_at_full_width_a_replayed_step_is_the_eager_one_bit_for_bit(wide: Path) -> None:
    captured, eager = (load_pipeline(wide, device="cuda", dtype="bfloat16") for _ in range(2))
    captured.warm_up()
    specs = [SampleSpec(class_id=i, seed=i, steps=2) for i in range(32)]
    alone = [walked(eager, spec).latents for spec in specs]
    assert all(latents.isfinite().all() for latents in alone)
    for images in (1, 2, 4, 8, 16, 32):
        for pipeline in (captured, eager):
            samples = [pipeline.begin(spec) for spec in specs[:images]]
            for _ in range(2):
                pipeline.step(samples)
            assert all(torch.equal(sample.latents, one) for sample, one in zip(samples, alone, strict=False)), images
    unguided = SampleSpec(class_id=1, seed=1, steps=2, guidance_scale=1.0)
    assert torch.equal(walked(captured, unguided).latents, walked(eager, unguided).latents)


def test_nan_stays_with_its_sample(pipeline: Pipeline) -> None:
    spoilt, good = pipeline.begin(SPECS[4]), pipeline.begin(SPECS[4])
    spoilt.latents.fill_(float("nan"))
    while not good.is_done:
        pipeline.step([spoilt, good])
    assert spoilt.latents.isnan().all()
    assert torch.equal(good.latents, walked(pipeline, SPECS[4]).latents)


def test_neither_begin_nor_step_waits_for_a_copy(pipeline: Pipeline, folder: Path) -> None:
    bare = load_pipeline(folder, device="cuda", modulation_cache_bytes=0)
    bare.warm_up()
    for one in (pipeline, bare):
        walked(one, SPECS[1], 3)  # what is made once is made
        with no_waiting():
            samples = [one.begin(spec) for spec in SPECS]
            while samples := [sample for sample in samples if not sample.is_done]:
                one.step(samples)


def test_images_decoded_beside_steps_are_those_decoded_in_silence(pipeline: Pipeline) -> None:
    finished = [walked(pipeline, spec) for spec in SPECS]
    quiet = pipeline.decode(finished)
    with ThreadPoolExecutor(1) as thread:
        for _ in range(5):
            again = [walked(pipeline, spec) for spec in SPECS]  # not waited for
            decoding = thread.submit(pipeline.decode, again)
            crowd = [pipeline.begin(SampleSpec(i % 10, i, steps=20)) for i in range(16)]
            del again
            while not crowd[0].is_done:
                pipeline.step(crowd)
            assert all(np.array_equal(one, other) for one, other in zip(decoding.result(), quiet, strict=True))


def test_a_captured_decoder_gives_the_eager_one_s_image(pipeline: Pipeline, folder: Path) -> None:
    eager = load_pipeline(folder, device="cuda")
    finished = [walked(pipeline, spec) for spec in SPECS]
    assert np.array_equal(pipeline.decode(finished), eager.decode(finished))


def test_work_that_cannot_be_captured_raises_and_the_card_goes_on(pipeline: Pipeline) -> None:
    card, x = CudaCard(pipeline.device), torch.ones(4, device=pipeline.device)
    with pytest.raises(RuntimeError):
        card.capture(lambda: torch.tensor(x.sum().item()))
    assert torch.cuda.current_stream(pipeline.device) == torch.cuda.default_stream(pipeline.device)
    replay = card.capture(lambda: x + 1)
    x.fill_(5)
    assert replay().tolist() == [6.0] * 4


def test_what_a_card_says_of_its_memory_is_true(pipeline: Pipeline) -> None:
    card = CudaCard(pipeline.device)
    taken = card.peak_bytes(lambda: torch.empty(1 << 28, dtype=torch.uint8, device=pipeline.device))
    assert taken == 1 << 28
    assert 0 < card.free_bytes() <= torch.cuda.get_device_properties(pipeline.device).total_memory
