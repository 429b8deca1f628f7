"""The door to a model: samples are begun, stepped together, looked at and decoded, and never disturb each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.errors import CheckpointError, DeviceError
from tests.models.checkpoints.folders import random_vae

SPECS = (
    SampleSpec(class_id=3, seed=1, steps=4, guidance_scale=4.0, sampler="ddim"),
    SampleSpec(class_id=9, seed=2, steps=6, guidance_scale=1.0, sampler="ddpm"),
    SampleSpec(class_id=3, seed=3, steps=5, guidance_scale=1.5, sampler="ddpm"),
    SampleSpec(class_id=0, seed=4, steps=3, guidance_scale=7.5, sampler="dpm++"),
    SampleSpec(class_id=5, seed=5, steps=4, guidance_scale=1.0, sampler="ddim"),
)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pipeline(folder: Path, request: pytest.FixtureRequest) -> Pipeline:
    return load_pipeline(folder, device="cpu", dtype=request.param)


def image_alone(pipeline: Pipeline, spec: SampleSpec) -> np.ndarray:
    sample = pipeline.begin(spec)
    while not sample.is_done:
        pipeline.step([sample])
    return pipeline.decode([sample])[0]


def test_a_pipeline_says_what_it_is(pipeline: Pipeline) -> None:
    info = pipeline.info
    assert (info.name, info.resolution, info.num_classes, info.max_steps) == ("random", 64, 10, 1000)
    assert (info.guidance_channels, info.device, info.vae) == (4, "cpu", "")
    assert f"torch.{info.dtype}" == str(pipeline.model.blocks[0].qkv.weight.dtype)
    assert info.samplers == ("ddim", "ddpm", "dpm++")
    assert len(info.sha256) == 64


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sampler}-{spec.guidance_scale}")
def test_an_image_is_bitwise_the_same_alone_and_among_others_that_come_and_go(
    pipeline: Pipeline, spec: SampleSpec
) -> None:
    expected = image_alone(pipeline, spec)
    others = [pipeline.begin(replace(other, seed=other.seed + 100)) for other in SPECS]
    pipeline.step(others[:3])  # the neighbours are ahead
    sample = pipeline.begin(spec)
    while not sample.is_done:
        company = [other for other in others if not other.is_done][sample.i :]
        pipeline.step([*company[:2], sample, *company[2:]])
    done = [other for other in others if other.is_done]
    assert np.array_equal(pipeline.decode([*done, sample])[-1], expected)


def test_the_same_bytes_come_whether_modulations_are_kept_or_not(pipeline: Pipeline, folder: Path) -> None:
    bare = load_pipeline(folder, device="cpu", dtype=pipeline.info.dtype, modulation_cache_bytes=0)
    for spec in SPECS:
        assert np.array_equal(image_alone(bare, spec), image_alone(pipeline, spec))


def test_the_number_of_threads_changes_no_byte(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # whatever else runs here, steps take the threads set below
    pipeline = load_pipeline(folder, device="cpu", dtype=pipeline.info.dtype)
    before, pictures = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            pictures.append(np.stack(pipeline.generate(list(range(10)), list(range(10)), steps=3)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*pictures)


def test_a_step_takes_the_threads_that_are_left_to_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, seen = load_pipeline(folder, device="cpu"), []
    denoise = pipeline.model.denoise

    def looks(*given: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return denoise(*given)

    monkeypatch.setattr(pipeline.model, "denoise", looks)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setattr(pipeline._cores, "_left", lambda: 1)
        pipeline.step([pipeline.begin(SPECS[0])])
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_pictures_of_free_shapes_differ_by_rounding_alone(folder: Path) -> None:
    whole = load_pipeline(folder, device="cpu", dtype="float32")
    free = load_pipeline(folder, device="cpu", dtype="float32", batch_invariant=False)
    ours = whole.generate([1, 2, 3], [0, 1, 2], steps=3)
    theirs = free.generate([1, 2, 3], [0, 1, 2], steps=3)
    assert np.abs(np.stack(ours).astype(int) - np.stack(theirs)).max() <= 1
    assert free.generate([], []) == []


def test_the_seed_alone_decides_the_noise(pipeline: Pipeline) -> None:
    spec = SPECS[1]
    generator = torch.Generator("cpu").manual_seed(spec.seed)
    sample = pipeline.begin(spec)
    assert torch.equal(sample.latents, torch.randn(1, 4, 8, 8, generator=generator))
    assert not np.array_equal(image_alone(pipeline, spec), image_alone(pipeline, replace(spec, seed=77)))


def test_ddpm_draws_one_tensor_a_step_in_order_and_none_in_the_last(pipeline: Pipeline) -> None:
    spec = SPECS[1]
    sample = pipeline.begin(spec)
    expected = torch.Generator("cpu").manual_seed(spec.seed)
    torch.randn(1, 4, 8, 8, generator=expected)
    for _ in range(spec.steps - 1):
        torch.randn(1, 4, 8, 8, generator=expected)
    while not sample.is_done:
        pipeline.step([sample])
    assert torch.equal(sample.generator.get_state(), expected.get_state())


def test_a_step_that_failed_can_be_taken_again_as_it_was(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS[2]
    expected = image_alone(pipeline, spec)
    sample = pipeline.begin(spec)

    def out_of_memory(*arguments: object) -> None:
        raise torch.OutOfMemoryError("no memory left")

    with monkeypatch.context() as patch:
        patch.setattr("dit_serve.models.sampling.slots.sampler_step", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            pipeline.step([sample])
    while not sample.is_done:
        pipeline.step([sample])
    assert np.array_equal(pipeline.decode([sample])[0], expected)


def test_generate_is_the_door_in_a_loop(pipeline: Pipeline) -> None:
    images = pipeline.generate([3, 3], [1, 9], steps=4, guidance_scale=4.0)
    assert np.array_equal(images[0], image_alone(pipeline, SPECS[0]))
    assert images[1].shape == (64, 64, 3)
    assert images[1].dtype == np.uint8
    latents = pipeline.generate([3], [1], steps=4, output_type="latents")[0]
    assert latents.shape == (4, 8, 8)
    assert latents.dtype == np.float32
    assert pipeline.generate([], []) == []


def test_a_preview_is_one_pixel_a_latent_pixel_before_and_after_steps(pipeline: Pipeline) -> None:
    sample = pipeline.begin(SPECS[0])
    before = pipeline.preview(sample)()
    pipeline.step([sample])
    assert (before.shape, before.dtype) == ((8, 8, 3), np.uint8)
    assert not np.array_equal(pipeline.preview(sample)(), before)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_id": 10}, "class_id must be 0 to 9, got 10"),
        ({"class_id": -1}, "class_id must be 0 to 9, got -1"),
        ({"steps": 0}, "steps must be between 1 and 1000, got 0"),
        ({"sampler": "euler"}, "sampler must be one of"),
    ],
)
def test_a_wish_that_the_model_cannot_grant_is_refused(pipeline: Pipeline, change: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pipeline.begin(replace(SPECS[0], **change))


def test_stepping_what_is_done_and_decoding_what_is_not_are_refused(pipeline: Pipeline) -> None:
    sample = pipeline.begin(replace(SPECS[0], steps=1))
    with pytest.raises(ValueError, match="steps left cannot be decoded"):
        pipeline.decode([sample])
    pipeline.step([sample])
    with pytest.raises(ValueError, match="done cannot be stepped"):
        pipeline.step([sample])


def test_latents_that_are_not_finite_are_no_image(pipeline: Pipeline) -> None:
    samples = [pipeline.begin(replace(SPECS[0], steps=1)), pipeline.begin(replace(SPECS[0], steps=1))]
    samples[0].latents[0, 0, 0, 0] = float("nan")
    pipeline.step(samples)
    with pytest.raises(FloatingPointError, match="not finite"):
        pipeline.decode(samples)
    assert pipeline.decode(samples[1:])[0].shape == (64, 64, 3)


def test_seeds_and_classes_must_be_as_many(pipeline: Pipeline) -> None:
    with pytest.raises(ValueError, match="2 class ids, 1 seeds"):
        pipeline.generate([1, 2], [0])


def test_an_autoencoder_with_other_latent_channels_is_refused(folder: Path, tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(block_out_channels=(8,), latent_channels=3, norm_num_groups=4)
    vae.save_pretrained(tmp_path / "vae")
    with pytest.raises(CheckpointError, match="has 3 latent channels, random has 4"):
        load_pipeline(folder, vae=tmp_path / "vae", device="cpu")


def test_another_autoencoder_may_be_given_and_its_own_down_sampling_counts(folder: Path, tmp_path: Path) -> None:
    random_vae((8, 8, 16)).save_pretrained(tmp_path / "vae")
    assert load_pipeline(folder, vae=tmp_path / "vae", device="cpu").info.resolution == 32


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_asked_for_and_absent_is_refused(folder: Path) -> None:
    with pytest.raises(DeviceError, match="0 CUDA devices are present"):
        load_pipeline(folder, device="cuda")


def test_an_ema_that_a_checkpoint_does_not_have_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="holds one model and no EMA of it: leave out `--weights ema`"):
        load_pipeline(folder, device="cpu", weights="ema")
    assert load_pipeline(folder, device="cpu", weights="model").info.weights == ""


def test_float8_is_refused_where_the_device_has_no_products_of_it(folder: Path) -> None:
    words = "precision fp8 needs an NVIDIA card of compute capability 8.9 or later, got cpu: leave it out"
    with pytest.raises(DeviceError, match=words):
        load_pipeline(folder, device="cpu", precision="fp8")
    with pytest.raises(ValueError, match="precision must be fp8, got 'fp4'"):
        load_pipeline(folder, device="cpu", precision="fp4")


def test_float8_walks_end_near_those_of_full_precision(
    pipeline: Pipeline, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dit_serve.models.pipeline.check_precision", lambda *given: None)
    narrow = load_pipeline(folder, device="cpu", precision="fp8")
    assert narrow.model.is_float8
    assert (narrow.info.precision, pipeline.info.precision) == ("fp8", "")
    near, exact = (one.generate([1], [0], steps=4, output_type="latents")[0] for one in (narrow, pipeline))
    assert 1e-4 < np.linalg.norm(near - exact) / np.linalg.norm(exact) < 0.3


def test_a_class_may_be_given_by_its_name() -> None:
    digits = load_pipeline("digits-64", device="cpu")
    by_name, by_id = (digits.generate([seven], [0], steps=2)[0] for seven in ("Seven", 7))
    assert np.array_equal(by_name, by_id)
    with pytest.raises(ValueError, match="no class is called 'eleven'"):
        digits.generate(["eleven"], [0], steps=2)
