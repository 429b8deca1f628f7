"""Models of the paper's other blocks are served on the terms of all: the same bytes alone, in any batch, once more.

Latents of side 6 and patches of side 2 make 9 tokens, 11 in-context: a number that no product's shape likes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.architecture import Conditioned
from dit_serve.models.errors import CheckpointError
from tests.models.conditioned import OTHERS, SMALL, save_conditioned

SPECS = (
    SampleSpec(class_id=3, seed=1, steps=3, guidance_scale=4.0, sampler="ddim"),
    SampleSpec(class_id=9, seed=2, steps=4, guidance_scale=1.0, sampler="ddpm"),
    SampleSpec(class_id=0, seed=4, steps=2, guidance_scale=7.5, sampler="dpm++"),
)
KINDS = [
    ("in-context", 6, "float32"),
    ("in-context", 8, "bfloat16"),
    ("cross-attention", 6, "float32"),
    ("adaln", 8, "float32"),
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: "-".join(map(str, kind)))
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    conditioning, side, dtype = request.param
    folder: Path = tmp_path_factory.mktemp("models") / conditioning
    save_conditioned(folder, conditioning, replace(SMALL, input_size=side))
    return load_pipeline(folder, device="cpu", dtype=dtype)


def latents_alone(pipeline: Pipeline, spec: SampleSpec) -> torch.Tensor:
    sample = pipeline.begin(spec)
    while not sample.is_done:
        pipeline.step([sample])
    return sample.latents


def test_a_sample_is_bitwise_the_same_alone_and_among_others_that_come_and_go(pipeline: Pipeline) -> None:
    expected = {spec: latents_alone(pipeline, spec) for spec in SPECS}
    for spec in SPECS:
        others = [pipeline.begin(replace(other, seed=other.seed + 100)) for other in SPECS]
        pipeline.step(others[:2])  # the neighbours are ahead
        sample = pipeline.begin(spec)
        while not sample.is_done:
            company = [other for other in others if not other.is_done][sample.i :]
            pipeline.step([*company[:1], sample, *company[1:]])
        assert torch.equal(sample.latents, expected[spec]), spec


def test_the_same_bytes_come_after_a_restart(pipeline: Pipeline) -> None:
    """With nothing kept between steps and another number of threads."""
    folder = pipeline.checkpoint.source.parents[1]
    again = load_pipeline(folder, device="cpu", dtype=pipeline.info.dtype, modulation_cache_bytes=0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        assert torch.equal(latents_alone(again, SPECS[0]), latents_alone(pipeline, SPECS[0]))
    finally:
        torch.set_num_threads(before)


def test_timestep_class_and_guidance_all_matter(pipeline: Pipeline) -> None:
    plain = latents_alone(pipeline, SPECS[0])
    for change in ({"class_id": 4}, {"guidance_scale": 1.0}, {"steps": 5}):
        assert not torch.equal(latents_alone(pipeline, replace(SPECS[0], **change)), plain)


def test_a_model_says_which_blocks_it_has(pipeline: Pipeline) -> None:
    assert pipeline.info.conditioning == pipeline.model.config.conditioning == pipeline.info.name
    assert pipeline.generate([1], [0], steps=1)[0].dtype == np.uint8


@pytest.mark.parametrize("conditioning", OTHERS)
def test_float8_is_refused_at_load(
    conditioning: Conditioned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dit_serve.models.pipeline.check_precision", lambda *given: None)
    save_conditioned(tmp_path / "mine", conditioning)
    words = f"mine: has {conditioning} blocks, and precision fp8 is for adaln-zero alone: leave it out"
    with pytest.raises(CheckpointError, match=words):
        load_pipeline(tmp_path / "mine", device="cpu", precision="fp8")
