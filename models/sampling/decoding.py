"""Latents into pixels, one image at a time, beside whatever else the device does.

The autoencoder's arithmetic depends on the number of images in a batch, and on a processor on the number of threads;
one image and one thread make an image independent of its company. On a card one image of 256 pixels fills the
multiprocessors, the decoder is captured once, and it runs on a stream of its own: each image waits for the step that
made its latents, and for no later one. Knows no engine; several threads must not call one `Decoder` at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from dit_serve.models.device import one_thread
from dit_serve.models.errors import is_device_lost
from dit_serve.models.sampling.card import Card
from dit_serve.models.sampling.sample import Sample
from dit_serve.models.vae import VAE

Pixels = NDArray[np.uint8]


class Decoder:
    """Decodes finished samples with one autoencoder.

    Args:
        vae: the autoencoder.
        latent_shape: (C, H, W).
        device: where the autoencoder is.
        is_invariant: whether the number of threads may not change an image.
    """

    def __init__(
        self, vae: VAE, latent_shape: tuple[int, int, int], device: torch.device, *, is_invariant: bool
    ) -> None:
        self._vae = vae
        self._device = device
        self._is_invariant = is_invariant
        self._latents = torch.zeros((1, *latent_shape), device=device)
        side = latent_shape[1] * vae.downsampling
        self._image_shape = (side, side, 3)
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._render: Callable[[], tuple[torch.Tensor, torch.Tensor]] = self._render_eagerly

    def capture(self, card: Card) -> None:
        """Capture the decoding of one image; without room for it, it stays eager."""
        try:
            self._render = card.capture(self._render_eagerly)
        except RuntimeError as error:
            if is_device_lost(error):
                raise
            logging.getLogger("dit.models").warning("no graph for the decoder: %s", error)

    def __call__(self, samples: Sequence[Sample]) -> list[Pixels]:
        """Return the samples' images, (H, W, 3) uint8 on the CPU.

        The samples' latents must not change meanwhile. All work on them has ended on return, so their memory may go
        back to the stream that it came from.

        Raises:
            FloatingPointError: a sample's latents are not finite, or its image is not, in float32 either.
        """
        is_card = self._stream is not None
        pixels = torch.empty((len(samples), *self._image_shape), dtype=torch.uint8, pin_memory=is_card)
        is_finite = torch.empty(len(samples), dtype=torch.bool, pin_memory=is_card)
        with self._beside(samples):
            if lost := [sample.spec for sample in samples if not sample.latents.isfinite().all()]:
                raise FloatingPointError(f"latents that are not finite cannot be decoded: {lost}")
            for i, sample in enumerate(samples):
                self._latents.copy_(sample.latents)
                image, finite = self._render()
                pixels[i].copy_(image[0], non_blocking=is_card)
                is_finite[i].copy_(finite[0], non_blocking=is_card)
            if self._stream is not None:
                self._stream.synchronize()
            for i in (~is_finite).nonzero().flatten().tolist():
                pixels[i] = self._render_wide(samples[i])
        return list(pixels.numpy())

    @contextmanager
    def _beside(self, samples: Sequence[Sample]) -> Iterator[None]:
        """Work on the own stream, behind the steps that made the samples; on a processor in one thread if need be."""
        if self._stream is not None:
            with torch.cuda.stream(self._stream):
                for event in {sample.ready for sample in samples if sample.ready is not None}:
                    self._stream.wait_event(event)
                yield
        elif self._is_invariant:
            with one_thread():
                yield
        else:
            yield

    def _render_eagerly(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self._stream is None:
            return self._vae.render(self._latents)
        # of cuDNN's convolutions some sum in an order that differs from run to run
        with torch.backends.cudnn.flags(enabled=True, deterministic=True):
            return self._vae.render(self._latents)

    def _render_wide(self, sample: Sample) -> torch.Tensor:
        image, finite = self._vae.widened().render(sample.latents)
        if not finite.all():
            raise FloatingPointError(f"the autoencoder's image is not finite: {sample.spec}")
        return image[0].cpu()
