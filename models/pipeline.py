"""The narrow door to a model: begin a sample, step many at once, look at them, decode them.

One `Sample` is one image on its way. Samples in one `step` may differ in class, seed, number of steps, position,
guidance scale and sampler; their results do not depend on each other. `Pipeline.generate` is the same door in a loop.
Nothing here knows requests, queues or processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kernels.sampler_step import sampler_step
from models.checkpoint import Checkpoint, open_checkpoint
from models.conditioning import Conditioning
from models.device import choose_device, choose_dtype, one_thread
from models.dit import DiT
from models.errors import CheckpointError
from models.guidance import is_guided, pack
from models.hub import fetch_vae
from models.preview import LatentPreview
from models.registry import demo_path
from models.sampler import SAMPLERS, SamplerTable, sampler_table
from models.vae import VAE, load_vae
from models.weights import load_dit

Pixels = NDArray[np.uint8]
DEFAULT_VAE = "stabilityai/sd-vae-ft-ema"  # of the published .pt checkpoints, which bring none
MODULATION_CACHE_BYTES = 1 << 30
TOKEN_ROWS = 16  # rows of every matrix product come in multiples; with fewer, its arithmetic depends on how many


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """What one image is asked to be: everything that its pixels depend on, beside the model."""

    class_id: int
    seed: int
    steps: int = 50
    guidance_scale: float = 4.0
    sampler: str = "ddim"


@dataclass(slots=True)
class Sample:
    """One image on its way from noise: i of its steps are done.

    Attributes:
        spec: what was asked.
        table: the walk of its sampler.
        generator: its own source of noise, on the CPU, so that every device sees the same.
        latents: (1, C, H, W) float32, x_t.
        x0: (1, C, H, W) float32, the last step's guess of the image; zeros before the first.
        noise: (1, C, H, W) drawn for the step under way, so that a step which failed can be taken again as it was.
        i: steps done.
    """

    spec: SampleSpec
    table: SamplerTable
    generator: torch.Generator = field(repr=False)
    latents: torch.Tensor = field(repr=False)
    x0: torch.Tensor = field(repr=False)
    noise: torch.Tensor | None = field(default=None, repr=False)
    i: int = 0

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self.table)

    @property
    def is_done(self) -> bool:
        """Whether the latents are ready to decode."""
        return self.i == self.steps


class Pipeline:
    """A DiT, its autoencoder and its schedule, on one device.

    Args:
        checkpoint: where the model came from.
        model: the transformer, on `device`.
        vae: its autoencoder, on `device`.
        device: where everything runs.
        modulation_cache_bytes: budget for the modulations of jobs under way.
        batch_invariant: whether an image's bytes may not depend on its batch; False allows any shape.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        model: DiT,
        vae: VAE,
        device: torch.device,
        modulation_cache_bytes: int = MODULATION_CACHE_BYTES,
        batch_invariant: bool = True,
    ) -> None:
        self.checkpoint = checkpoint
        self.model = model.eval().requires_grad_(False)
        self.vae = vae
        self.device = device
        self.name = checkpoint.name
        self.sha256 = checkpoint.sha256
        self.labels = checkpoint.labels
        self.guidance_channels = checkpoint.guidance_channels
        self.num_classes = checkpoint.config.num_classes
        self.resolution = checkpoint.config.input_size * vae.downsampling
        self.max_steps = checkpoint.schedule.num_train_timesteps
        self.samplers = tuple(SAMPLERS)
        self.batch_invariant = batch_invariant
        self._conditioning = Conditioning(self.model, modulation_cache_bytes)
        self._preview: LatentPreview | None = None  # fitted at the first look

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the transformer's weights."""
        return self.model.patch_embed.weight.dtype

    def begin(self, spec: SampleSpec) -> Sample:
        """Return a sample of pure noise, drawn from the seed in float32 on the CPU as diffusers draws it.

        Raises:
            ValueError: class_id, steps or sampler is none that this model has.
        """
        if not 0 <= spec.class_id < self.num_classes:
            raise ValueError(f"class_id must be 0 to {self.num_classes - 1}, got {spec.class_id}")
        config = self.checkpoint.config
        table = sampler_table(spec.sampler, self.checkpoint.schedule, spec.steps, config.learn_sigma)
        for y in (spec.class_id, self.num_classes) if is_guided(spec.guidance_scale) else (spec.class_id,):
            self._conditioning.prepare(y, table.timesteps)
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        shape = (1, config.in_channels, config.input_size, config.input_size)
        latents = torch.randn(shape, generator=generator).to(self.device)
        return Sample(spec, table, generator, latents, torch.zeros_like(latents))

    @torch.inference_mode()
    def step(self, samples: Sequence[Sample]) -> None:
        """Take every sample one denoising step on, all in one forward pass.

        Raises:
            ValueError: a sample is already done.
        """
        if done := [sample.spec for sample in samples if sample.is_done]:
            raise ValueError(f"samples that are done cannot be stepped: {done}")
        latents = torch.cat([sample.latents for sample in samples])                           # (N, C, H, W)
        packing = pack(
            [s.spec.class_id for s in samples], [s.spec.guidance_scale for s in samples], self.num_classes
        )
        walkers = [samples[i] for i in packing.sample_of]                                     # (S)
        modulations = self._conditioning.rows(
            [(y, walker.table.timesteps, walker.i) for y, walker in zip(packing.classes, walkers, strict=True)]
        )                                                                                     # (S, 6L + 2, D)
        out = self._denoise(latents[self._tensor(packing.sample_of)], modulations)            # (S, O, H, W)
        new, x0 = sampler_step(
            latents,
            out,
            self._tensor(packing.null_rows),
            self._tensor([s.spec.guidance_scale for s in samples], torch.float32),
            self.guidance_channels,
            torch.stack([sample.table.coefficients[sample.i] for sample in samples]).to(self.device),
            torch.cat([sample.x0 for sample in samples]),
            self._noise(samples),
        )
        for sample, latent, guess in zip(samples, new, x0, strict=True):
            sample.latents, sample.x0, sample.noise, sample.i = latent[None], guess[None], None, sample.i + 1

    @torch.inference_mode()
    def preview(self, sample: Sample) -> Pixels:
        """Return a cheap look at the sample's x0, (H, W, 3) of the latent's size."""
        if self._preview is None:
            self._preview = LatentPreview(self.vae, self.device)
        return self._preview(sample.x0)

    @torch.inference_mode()
    def decode(self, samples: Sequence[Sample]) -> list[Pixels]:
        """Return the samples' images, (resolution, resolution, 3) each.

        They are decoded one at a time, by one thread, where an image must not depend on what else goes on: the
        autoencoder's arithmetic may. (Beside the steps of a busy engine that is also the faster way.)

        Raises:
            ValueError: a sample is not done.
            FloatingPointError: a sample's latents are not finite; decode it alone to know which.
        """
        if early := [sample.spec for sample in samples if not sample.is_done]:
            raise ValueError(f"samples with steps left cannot be decoded: {early}")
        if lost := [sample.spec for sample in samples if not sample.latents.isfinite().all()]:
            raise FloatingPointError(f"latents that are not finite cannot be decoded: {lost}")
        if self.batch_invariant:
            with one_thread():
                return [self.vae.decode(sample.latents)[0].numpy() for sample in samples]
        return list(self.vae.decode(torch.cat([sample.latents for sample in samples])).numpy()) if samples else []

    def generate(
        self,
        class_ids: Sequence[int],
        seeds: Sequence[int],
        *,
        steps: int = 50,
        guidance_scale: float = 4.0,
        sampler: str = "ddim",
        output_type: Literal["pixels", "latents"] = "pixels",
    ) -> list[Pixels] | list[NDArray[np.float32]]:
        """Return one image a class id: (resolution, resolution, 3) uint8, or latents (C, H, W) float32.

        Args:
            class_ids: the classes asked for.
            seeds: one seed an image.
            steps: denoising steps, 1 to max_steps.
            guidance_scale: s; 1 is no guidance.
            sampler: one of `samplers`.
            output_type: "pixels" or "latents".

        Raises:
            ValueError: an argument is none that this model has, or seeds and class_ids differ in number.
        """
        if len(seeds) != len(class_ids):
            raise ValueError(f"seeds must be one an image: {len(class_ids)} class ids, {len(seeds)} seeds")
        if output_type not in ("pixels", "latents"):
            raise ValueError(f"output_type must be pixels or latents, got {output_type!r}")
        specs = [SampleSpec(y, seed, steps, guidance_scale, sampler) for y, seed in zip(class_ids, seeds, strict=True)]
        samples = [self.begin(spec) for spec in specs]
        for _ in range(steps if samples else 0):
            self.step(samples)
        if output_type == "latents":
            return [sample.latents[0].float().cpu().numpy() for sample in samples]
        return self.decode(samples)

    def _denoise(self, x: torch.Tensor, modulations: torch.Tensor) -> torch.Tensor:
        """Return the network's output for S sequences, filled up so that its arithmetic is always the same."""
        sequences = x.shape[0]
        whole = TOKEN_ROWS // math.gcd(TOKEN_ROWS, self.model.config.tokens)
        missing = -sequences % whole if self.batch_invariant else 0
        if missing:
            x, modulations = (torch.cat([v, v[:1].expand(missing, *v.shape[1:])]) for v in (x, modulations))
        return self.model.denoise(x, modulations)[:sequences]

    def _tensor(self, values: Sequence[float], dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=self.device)

    def _noise(self, samples: Sequence[Sample]) -> torch.Tensor | None:
        """Return this step's noise (N, C, H, W), zeros for samples that add none; None if none adds any."""
        if not any(sample.table.is_noisy[sample.i] for sample in samples):
            return None
        for sample in samples:
            if sample.table.is_noisy[sample.i] and sample.noise is None:
                sample.noise = torch.randn(sample.latents.shape, generator=sample.generator)
        silence = torch.zeros(samples[0].latents.shape)
        return torch.cat([silence if sample.noise is None else sample.noise for sample in samples]).to(self.device)


def load_pipeline(
    checkpoint: str | Path,
    *,
    vae: str | Path | None = None,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
    modulation_cache_bytes: int = MODULATION_CACHE_BYTES,
    batch_invariant: bool = True,
) -> Pipeline:
    """Return a pipeline ready to generate.

    Args:
        checkpoint: a demo's name, a file, a folder or a hub id.
        vae: a folder or hub id, for checkpoints that bring no autoencoder (default stabilityai/sd-vae-ft-ema).
        device: cuda, cuda:N, mps or cpu; the best one present when None.
        dtype: float32, bfloat16 or float16; see choose_dtype when None.
        revision: branch, tag or commit of a hub id.
        modulation_cache_bytes: budget for the modulations of jobs under way; beyond it they are computed in the step.
        batch_invariant: whether an image's bytes may not depend on its batch.

    Raises:
        CheckpointError: the checkpoint cannot be used; the message says what is wrong and what to do.
        DeviceError: the device or dtype is not to be had.
    """
    place = choose_device(device)
    number_format = choose_dtype(dtype, place)
    opened = open_checkpoint(demo_path(str(checkpoint)) or checkpoint, revision=revision)
    folder = fetch_vae(vae) if vae is not None else opened.vae or fetch_vae(DEFAULT_VAE)
    autoencoder = load_vae(folder, device=place, dtype=number_format)
    if autoencoder.latent_channels != opened.config.in_channels:
        raise CheckpointError(
            f"{folder}: the autoencoder has {autoencoder.latent_channels} latent channels, "
            f"{opened.name} has {opened.config.in_channels}: give the autoencoder that it was trained on"
        )
    model = load_dit(opened, device=place, dtype=number_format)
    return Pipeline(opened, model, autoencoder, place, modulation_cache_bytes, batch_invariant)
