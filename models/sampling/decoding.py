"""Latents into pixels, beside whatever else the device does.

The autoencoder's arithmetic may depend on the number of images in a batch, and on a processor on the number of threads.
One image at a time in one thread makes an image independent of its company, and so it is done where nothing is
captured. On a card one image has too few tiles for all multiprocessors in the decoder's first layers. There the
decoding of a few numbers of images is captured, and with invariance the numbers that change no bit of an image are
kept: a probe at capture decodes the same latents alone and together. It runs on a stream of its own: images wait for
the steps that made their latents, and for no later one. Knows no engine; several threads must not call one `Decoder` at
a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from dit_serve.models.device import one_thread
from dit_serve.models.errors import is_device_lost
from dit_serve.models.sampling.card import Card
from dit_serve.models.sampling.sample import Sample
from dit_serve.models.vae import VAE, pixels_of

Pixels = NDArray[np.uint8]
Rendered = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # pixels, whether finite, the images as they were computed
SIZES = (8, 4, 2, 1)  # images at once; the largest is captured first, so that all share its memory
PROBE_SEED = 0


class Decoder:
    """Decodes finished samples with one autoencoder.

    Args:
        vae: the autoencoder.
        latent_shape: (C, H, W).
        device: where the autoencoder is.
        is_invariant: whether neither the number of threads nor the images beside it may change an image.
    """

    def __init__(
        self, vae: VAE, latent_shape: tuple[int, int, int], device: torch.device, *, is_invariant: bool
    ) -> None:
        self._vae = vae
        self._device = device
        self._is_invariant = is_invariant
        self._latents = torch.zeros((SIZES[0], *latent_shape), dtype=torch.float32, device=device)
        side = latent_shape[1] * vae.downsampling
        self._image_shape = (side, side, 3)
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._renders: dict[int, Callable[[], Rendered]] = {1: partial(self._render_eagerly, 1)}

    @property
    def sizes(self) -> tuple[int, ...]:
        """The numbers of images that are decoded at once, the largest first; always 1 among them."""
        return tuple(size for size in SIZES if size in self._renders)

    def capture(self, card: Card) -> None:
        """Capture the decoding of each number of images; one without room is left out, and one image stays eager."""
        for size in SIZES:
            try:
                self._renders[size] = card.capture(partial(self._render_eagerly, size))
            except RuntimeError as error:
                if is_device_lost(error):
                    raise
                logging.getLogger("dit.models").warning("no graph for the decoding of %d images: %s", size, error)
        if self._is_invariant and len(self.sizes) > 1:
            self._leave_out_variant_sizes()

    def __call__(self, samples: Sequence[Sample]) -> list[Pixels]:
        """Return the samples' images, (H, W, 3) uint8 on the CPU.

        The samples' latents must not change meanwhile. All work on them has ended on return, so their memory may go
        back to the stream that it came from.

        Raises:
            FloatingPointError: a sample's latents are not finite, or its image is not, in float32 either.
        """
        if not samples:
            return []
        is_card = self._stream is not None
        shape, count = (len(samples), *self._image_shape), len(samples)
        pixels = torch.empty(shape, dtype=torch.uint8, device="cpu", pin_memory=is_card)
        is_finite = torch.empty(count, dtype=torch.bool, device="cpu", pin_memory=is_card)
        with self._beside(samples):
            latents = torch.cat([sample.latents for sample in samples])
            is_usable = latents.isfinite().flatten(1).all(1).tolist()
            if lost := [sample.spec for sample, is_good in zip(samples, is_usable, strict=True) if not is_good]:
                raise FloatingPointError(f"latents that are not finite cannot be decoded: {lost}")
            for batch in self._batches(len(samples)):
                image, finite, _ = self._render(latents[batch])
                pixels[batch].copy_(image, non_blocking=is_card)
                is_finite[batch].copy_(finite, non_blocking=is_card)
            if self._stream is not None:
                self._stream.synchronize()
            for i in (~is_finite).nonzero().flatten().tolist():
                pixels[i] = self._render_wide(samples[i])
        return list(pixels.numpy())

    def _batches(self, count: int) -> Iterator[slice]:
        """Yield the images of each batch: always the largest that is left to fill, none filled up."""
        first = 0
        while first < count:
            size = next(size for size in self.sizes if size <= count - first)
            yield slice(first, first + size)
            first += size

    def _render(self, latents: torch.Tensor) -> Rendered:
        """Render as many latents as one of `sizes`; the result is overwritten by the next of that size."""
        self._latents[: len(latents)].copy_(latents)
        return self._renders[len(latents)]()

    def _leave_out_variant_sizes(self) -> None:
        """Decode random latents alone and together, in two places each, and keep the sizes that change no bit."""
        generator = torch.Generator("cpu").manual_seed(PROBE_SEED)
        shape = self._latents.shape
        latents = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(self._device)
        with self._beside(()):
            alone = torch.cat([self._render(one)[2].clone() for one in latents.chunk(SIZES[0])])
            for size in (size for size in self.sizes if size > 1):
                orders = list(range(size)), list(reversed(range(size)))
                if not all(torch.equal(self._render(latents[order])[2], alone[order]) for order in orders):
                    del self._renders[size]
                    message = "%d images are not decoded at once: it would change bits of an image"
                    logging.getLogger("dit.models").info(message, size)

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

    def _render_eagerly(self, size: int) -> Rendered:
        is_card = self._stream is not None
        # of cuDNN's convolutions some sum in an order that differs from run to run
        with torch.backends.cudnn.flags(enabled=True, deterministic=True) if is_card else nullcontext():
            images = self._vae.images(self._latents[:size])
            return *pixels_of(images), images

    def _render_wide(self, sample: Sample) -> torch.Tensor:
        image, finite = self._vae.widened().render(sample.latents)
        if not finite.all():
            raise FloatingPointError(f"the autoencoder's image is not finite: {sample.spec}")
        return image[0].cpu()


def decodes_beside(device: torch.device) -> bool:
    """Return whether decoding beside steps gains time: a card has room for both, a processor's cores have not."""
    return device.type == "cuda"


def decoded_beside(
    batches: Sequence[Sequence[Sample]],
    walk: Callable[[Sequence[Sample]], object],
    decode: Callable[[Sequence[Sample]], list[Pixels]],
) -> list[Pixels]:
    """Return all images in their order; each batch is decoded in another thread while the next one is walked.

    What `walk` or `decode` raises is raised, after the decoding under way has ended.

    Args:
        batches: new samples.
        walk: takes a batch through all its steps.
        decode: makes the images of a batch that is done.
    """
    decoding: list[Future[list[Pixels]]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as thread:
        for batch in batches:
            walk(batch)
            if decoding:
                decoding[-1].result()  # or a failure would be told after all other batches
            decoding.append(thread.submit(decode, batch))
        return [image for one in decoding for image in one.result()]
