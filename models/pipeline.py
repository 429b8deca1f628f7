"""The narrow door to a model: begin a sample, step many at once, look at them, decode them.

One `Sample` is one image on its way. Samples in one `step` may differ in class, seed, number of steps, position,
guidance scale and sampler; their results do not depend on each other. `Pipeline.generate` is the same door in a loop.
Nothing here knows requests, queues or processes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dit_serve.kernels.linear_ways import starve_cublaslt
from dit_serve.models.checkpoints.cache import files_sha256
from dit_serve.models.checkpoints.checkpoint import Checkpoint, open_checkpoint
from dit_serve.models.checkpoints.hub import fetch_vae
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.checks import check_spec, read_specs
from dit_serve.models.description import describe, rest_sha256
from dit_serve.models.device import check_precision, choose_device, choose_dtype
from dit_serve.models.dit import DiT
from dit_serve.models.errors import ChangedMeanwhile, CheckpointError
from dit_serve.models.options import DEFAULT_VAE, ModelOptions, SampleSpec
from dit_serve.models.products import TOKEN_ROWS
from dit_serve.models.registry import demo_path
from dit_serve.models.sampling.card import Card, CudaCard, upload
from dit_serve.models.sampling.conditioning import Conditioning
from dit_serve.models.sampling.decoding import Decoder, Pixels, decoded_beside, decodes_beside
from dit_serve.models.sampling.graphs import BUCKETS, StepGraphs
from dit_serve.models.sampling.preview import LatentPreview, Look
from dit_serve.models.sampling.sample import Sample
from dit_serve.models.sampling.sampler import sampler_table
from dit_serve.models.sampling.slots import CAPACITY, Slots
from dit_serve.models.sampling.stream import StepStream
from dit_serve.models.threads import core_share
from dit_serve.models.vae import VAE, load_vae, vae_dtype

__all__ = ["DEFAULT_VAE", "Pipeline", "Sample", "SampleSpec", "load_pipeline"]


class Pipeline:
    """A DiT, its autoencoder and its schedule, on one device.

    On a CUDA card, batch invariance sets how cuBLASLt works in the whole process: see `starve_cublaslt`.

    Args:
        checkpoint: where the model came from.
        model: the transformer, on `device`.
        vae: its autoencoder, on `device`.
        device: where everything runs.
        options: what it was loaded with.
    """

    def __init__(
        self, checkpoint: Checkpoint, model: DiT, vae: VAE, device: torch.device, options: ModelOptions | None = None
    ) -> None:
        options = options or ModelOptions()
        self.checkpoint = checkpoint
        self.model = model.eval().requires_grad_(False)
        self.vae = vae
        self.device = device
        self.info = describe(checkpoint, model, vae, device, options)
        self.model.products.batch_invariant = options.batch_invariant
        if options.batch_invariant and device.type == "cuda":
            starve_cublaslt()  # before the first product: what conditions a sample has its bits from the library too
        self._conditioning = Conditioning(
            self.model, options.modulation_cache_bytes, CAPACITY, is_ahead=device.type == "cuda"
        )
        self._slots = Slots(self.model, self._conditioning, checkpoint.guidance_channels)
        whole = TOKEN_ROWS // math.gcd(TOKEN_ROWS, checkpoint.config.tokens)
        self._graphs = StepGraphs(self._slots, whole if options.batch_invariant else 1)
        self._decoder = Decoder(vae, self._latent_shape, device, is_invariant=options.batch_invariant)
        self._cores = core_share(device)
        self._preview: LatentPreview | None = None  # fitted at the first look
        self._stream = StepStream(device)

    @property
    def modulation_counts(self) -> tuple[int, int]:
        """Rows of modulations that steps found kept, and that they had to compute, since the start."""
        return self._conditioning.hits, self._conditioning.misses

    @property
    def max_sequences(self) -> int:
        """The most sequences that a step may have; after `warm_up`, what a card's memory has room for."""
        return self._graphs.max_sequences

    @property
    def buckets(self) -> tuple[int, ...]:
        """The numbers of sequences that steps are captured for."""
        return self._graphs.buckets

    @property
    def _latent_shape(self) -> tuple[int, int, int]:
        config = self.checkpoint.config
        return config.in_channels, config.input_size, config.input_size

    @torch.inference_mode()
    def warm_up(self, new_card: Callable[[], Card] | None = None) -> None:
        """On a card, capture the step and the decoder, and find how many sequences its memory has room for.

        Without it everything works with the same bits, step by step and slower. To be called once, before the first
        sample and while nothing else in the process uses a card.

        Args:
            new_card: makes what captures; CUDA graphs on a CUDA device and nothing elsewhere when None.
        """
        if new_card is None and self.device.type == "cuda":
            new_card = partial(CudaCard, self.device)
        if new_card is not None:
            # Steps first: a capture that fails may spoil those after it, and most of an image's time is its steps. So
            # what the decoder will take is measured ahead, and left over.
            noise = self.begin(SampleSpec(class_id=0, seed=0, steps=1, guidance_scale=1))
            spared_bytes = new_card().peak_bytes(partial(self._decoder, [noise]))
            with self._stream.current():
                self._graphs.limit(self.model.choose_ways(BUCKETS, new_card().milliseconds))
                self._graphs.capture(new_card(), spared_bytes)
            self._decoder.capture(new_card())

    def rest(self) -> None:
        """Give up memory that only makes later images faster; to be called when no sample is under way."""
        self._conditioning.rest()

    def begin(self, spec: SampleSpec) -> Sample:
        """Return a sample of pure noise, drawn from the seed in float32 on the CPU as diffusers draws it.

        Raises:
            ValueError: tells all that this model cannot do of what is asked.
        """
        check_spec(self.info, spec)
        schedule, learn_sigma = self.checkpoint.schedule, self.checkpoint.config.learn_sigma
        table = sampler_table(spec.sampler, schedule, spec.steps, learn_sigma)
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        shape = (1, *self._latent_shape)
        noise = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        with self._stream.current():
            for y in (spec.class_id, self.info.num_classes)[: spec.sequences]:
                self._conditioning.prepare(y, table.timesteps)
            latents = upload(noise, self.device)
            return Sample(spec, table, generator, latents, torch.zeros_like(latents), ready=self._stream.mark())

    @torch.inference_mode()
    def step(self, samples: Sequence[Sample]) -> None:
        """Take every sample one denoising step on, all in one forward pass; if it raises, no sample has changed.

        On a card the step may still be under way on return, but the step before is not.

        Raises:
            ValueError: a sample is already done, or they are more sequences than `max_sequences`.
        """
        if done := [sample.spec for sample in samples if sample.is_done]:
            raise ValueError(f"samples that are done cannot be stepped: {done}")
        if self.device.type == "cuda" and not self._graphs.shapes:  # the bits are to be those after a warm-up
            self._graphs.limit(self.model.choose_ways(BUCKETS, lambda work: 0.0))
        if (sequences := sum(sample.spec.sequences for sample in samples)) > self.max_sequences:
            taken = f"these samples take {sequences} (a guided one takes two, one of guidance scale 1 takes one)"
            raise ValueError(f"a step has {self.max_sequences} places, {taken}: step fewer at once")
        with self._cores.taken(), self._stream.current():
            new, x0 = self._graphs.run(self._slots.fill(samples))
            moment = self._stream.mark()
        self._stream.keep_pace(moment)
        for sample, latents, guess in zip(samples, new, x0, strict=True):
            sample.latents, sample.x0, sample.noise, sample.ready = latents[None], guess[None], None, moment
            sample.i += 1

    @torch.inference_mode()
    def preview(self, sample: Sample) -> Look:
        """Return a cheap look at the sample's x0 as it is now: a function that gives (H, W, 3) of the latent's size.

        On a card the step that makes the x0 may be under way still; the function waits for it, so call it in a thread
        that has the time. It may be called after later steps, and from any thread.
        """
        with self._stream.current():
            if self._preview is None:
                self._preview = LatentPreview(self.vae, self.device)
            return self._preview(sample.x0)

    @torch.inference_mode()
    def decode(self, samples: Sequence[Sample]) -> list[Pixels]:
        """Return the samples' images, (resolution, resolution, 3) each.

        On a card another thread may call this beside `step`.

        Raises:
            ValueError: a sample is not done.
            FloatingPointError: a sample's latents or image are not finite; decode it alone to know which.
        """
        if early := [sample.spec for sample in samples if not sample.is_done]:
            raise ValueError(f"samples with steps left cannot be decoded: {early}")
        return self._decoder(samples)

    def generate(
        self,
        class_ids: ArrayLike,
        seeds: ArrayLike,
        *,
        steps: int = 50,
        guidance_scale: float | None = None,
        sampler: str = "ddim",
        output_type: Literal["pixels", "latents"] = "pixels",
    ) -> list[Pixels] | list[NDArray[np.float32]]:
        """Return one image a class id: (resolution, resolution, 3) uint8, or latents (C, H, W) float32.

        Args:
            class_ids: the classes asked for, each by its id or one of its names; a list, an array or a tensor of them,
                or one alone for one image.
            seeds: one seed an image, as the class ids.
            steps: denoising steps, 1 to `info.max_steps`.
            guidance_scale: s; 1 is no guidance. By default 4, or 1 for a model that takes no other.
            sampler: one of `info.samplers`.
            output_type: "pixels" or "latents".

        Raises:
            ValueError: tells all that this model cannot do of what is asked, or that the seeds are not one an image.
            FloatingPointError: an image is not finite.
        """
        if output_type not in ("pixels", "latents"):
            raise ValueError(f"output_type must be pixels or latents, got {output_type!r}")
        scale = self.info.default_guidance_scale if guidance_scale is None else guidance_scale
        specs = read_specs(self.info, class_ids, seeds, steps, scale, sampler)
        samples = [self.begin(spec) for spec in specs]
        at_once = self.max_sequences // 2
        batches = [samples[first : first + at_once] for first in range(0, len(samples), at_once)]
        if output_type == "pixels" and len(batches) > 1 and decodes_beside(self.device):
            return decoded_beside(batches, self._walk, self.decode)
        for batch in batches:
            self._walk(batch)
        if output_type == "latents":
            return [sample.latents[0].float().cpu().numpy() for sample in samples]
        return self.decode(samples)

    def _walk(self, batch: Sequence[Sample]) -> None:
        """Take new samples of equally many steps to their end."""
        for _ in range(batch[0].steps):
            self.step(batch)


def load_pipeline(
    checkpoint: str | Path, options: ModelOptions | None = None, *, revision: str | None = None, **knobs: Any
) -> Pipeline:
    """Return a pipeline ready to generate.

    Args:
        checkpoint: a demo's name, a file, a folder or a hub id.
        options: how it is loaded and run.
        revision: branch, tag or commit of a hub id.
        knobs: fields of `ModelOptions` by name, in place of those in `options`: device="cpu", dtype="float32".

    Raises:
        CheckpointError: the checkpoint cannot be used; the message says what is wrong and what to do.
        DeviceError: the device or dtype is not to be had.
    """
    options = replace(options or ModelOptions(), **knobs)
    place = choose_device(options.device)
    number_format = choose_dtype(options.dtype, place)
    check_precision(options.precision, place)
    opened = open_checkpoint(demo_path(str(checkpoint)) or checkpoint, revision=revision, weights=options.weights)
    if options.precision == "fp8" and opened.config.conditioning != "adaln-zero":
        blocks = f"{opened.config.conditioning} blocks"
        raise CheckpointError(f"{opened.name}: has {blocks}, and precision fp8 is for adaln-zero alone: leave it out")
    weights_sha256 = files_sha256(opened.weights)
    for note in opened.notes:
        logging.getLogger("dit.models").warning("%s: %s", opened.name, note)
    folder = fetch_vae(options.vae if options.vae is not None else opened.vae or DEFAULT_VAE)
    autoencoder = load_vae(folder, device=place, dtype=vae_dtype(number_format, place))
    if autoencoder.latent_channels != opened.config.in_channels:
        raise CheckpointError(
            f"{folder}: the autoencoder has {autoencoder.latent_channels} latent channels, "
            f"{opened.name} has {opened.config.in_channels}: give the autoencoder that it was trained on"
        )
    model = load_dit(opened, device=place, dtype=number_format)
    if files_sha256(opened.weights) != weights_sha256:
        what = "was changed while it was loaded: wait until it is written, then try again"
        raise ChangedMeanwhile(f"{opened.source}: {what}")
    if options.precision == "fp8":
        model.quantise()
    pipeline = Pipeline(opened, model, autoencoder, place, options)
    pipeline.info = replace(pipeline.info, rest_sha256=rest_sha256(opened, folder))
    return pipeline
