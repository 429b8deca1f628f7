"""The one place where the service opens a model: `models.Pipeline` behind the engine's `Door`.

Importing this imports torch; the HTTP process never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dit_serve.models.pipeline import DEFAULT_VAE, Pipeline, Sample, SampleSpec, load_pipeline
from dit_serve.service.engine.engine import Door
from dit_serve.service.wire.job import Job
from dit_serve.service.wire.messages import Configure, ModelInfo


class PipelineDoor:
    """A pipeline that takes the engine's jobs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    @property
    def cache_counts(self) -> tuple[int, int]:
        """Modulations that were kept, and that had to be computed, since the start."""
        return self._pipeline.modulation_counts

    @property
    def max_sequences(self) -> int | None:
        """The most sequences that a step has room for; None: any number."""
        return self._pipeline.max_sequences

    def begin(self, spec: Job, /) -> Sample:
        """One image: its latents, its table of steps, its generator."""
        return self._pipeline.begin(sample_spec(spec))

    def step(self, samples: list[Sample], /) -> None:
        """One denoising step for every sample in one forward pass."""
        self._pipeline.step(samples)

    def preview(self, sample: Sample, /) -> Any:
        """(h, w, 3) uint8, a cheap look at the image as it stands."""
        return self._pipeline.preview(sample)

    def decode(self, samples: list[Sample], /) -> Sequence[Any]:
        """(H, W, 3) uint8 pixels of finished samples."""
        return self._pipeline.decode(samples)


def sample_spec(job: Job) -> SampleSpec:
    """What the model needs to know of a job."""
    return SampleSpec(job.class_id, job.seed, job.steps, job.guidance_scale, job.sampler)


def describe(pipeline: Pipeline, vae: str | None) -> ModelInfo:
    """What the HTTP side and receipts need to know of a pipeline; `vae` is the setting that it was loaded with."""
    return ModelInfo(
        name=pipeline.name,
        resolution=pipeline.resolution,
        num_classes=pipeline.num_classes,
        labels=pipeline.labels,
        max_steps=pipeline.max_steps,
        samplers=pipeline.samplers,
        guidance_channels=pipeline.guidance_channels,
        dtype=str(pipeline.dtype).removeprefix("torch."),
        device=str(pipeline.device),
        sha256=pipeline.sha256,
        vae=_vae_name(pipeline, vae),
    )


def load(model: str, configure: Configure) -> tuple[ModelInfo, Door]:
    """Loads one model of the settings and, on a card, captures its steps.

    Raises:
        ModelError: it cannot be loaded; the message says why and what to do.
    """
    pipeline = load_pipeline(
        model,
        vae=configure.vae,
        device=configure.device,
        dtype=configure.dtype,
        modulation_cache_bytes=configure.modulation_cache_bytes,
        batch_invariant=configure.batch_invariant,
    )
    pipeline.warm_up()
    return describe(pipeline, configure.vae), PipelineDoor(pipeline)


def _vae_name(pipeline: Pipeline, vae: str | None) -> str:
    """The autoencoder's hub id, or its folder's name alone: receipts go out, and paths are nobody's business."""
    if vae is None:
        return "" if pipeline.checkpoint.vae is not None else DEFAULT_VAE
    return Path(vae).resolve().name if Path(vae).exists() else vae
