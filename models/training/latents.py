"""Latents to train on: the images of a dataset seen through an autoencoder, computed once where they fit in memory.

Knows datasets and the autoencoder, no network that learns from the latents.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dit_serve.models.progress import told_steps
from dit_serve.models.training.datasets import Dataset, mirrored, shifted
from dit_serve.models.training.saving import replacing
from dit_serve.models.vae import VAE

ENCODE_ROWS = 64  # images encoded at once; more takes memory and gains nothing
VIEWS_SEED = 1  # of the views' augmentation, so that a resumed run sees the same ones


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How an image may differ from what the dataset holds."""

    flip: bool = False  # mirrored with probability one half
    reach: int = 0  # moved by up to so many pixels

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(N, 3, H, W) -> the same shape."""
        images = mirrored(images, generator) if self.flip else images
        return shifted(images, self.reach, generator)


class LatentSource:
    """Draws (latents, labels) at random; each image has `views` augmented versions where they are kept in memory."""

    def __init__(
        self,
        dataset: Dataset,
        vae: VAE,
        augmentation: Augmentation,
        views: int,
        cache_bytes: int,
        kept: Path | None = None,
    ) -> None:
        """Encodes all views, where they fit.

        Args:
            kept: a file to read them from, or to write them to where there is none.

        Raises:
            ValueError: the file holds latents of another shape.
            CheckpointError: it cannot be written.
        """
        self._dataset, self._vae, self._augmentation = dataset, vae, augmentation
        one = self._encode(torch.zeros(1, dtype=torch.int64), torch.Generator().manual_seed(VIEWS_SEED))
        size = views * len(dataset) * one.numel() * one.element_size()
        shape = (views, len(dataset), *one.shape[1:])
        self._views = self._kept_views(shape, kept) if size <= cache_bytes else None

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` images with replacement: latents (count, C, h, w) float32 and labels (count,) int64, on the CPU."""
        rows = torch.randint(len(self._dataset), (count,), generator=generator)
        labels = self._dataset.labels[rows]
        if self._views is None:
            return self._encode(rows, generator), labels
        view = torch.randint(len(self._views), (count,), generator=generator)
        return self._views[view, rows], labels

    def _kept_views(self, shape: tuple[int, ...], kept: Path | None) -> torch.Tensor:
        """All augmented versions, from the file where there is one: (V, N, C, h, w)."""
        if kept is None:
            return self._encode_views(shape[0])
        if not kept.is_file():
            with replacing(kept) as partial:
                save_file({"views": self._encode_views(shape[0]).contiguous()}, partial)
        views = load_file(kept).get("views")
        if views is None or views.shape != shape:
            raise ValueError(f"{kept} does not hold latents of {shape}: remove it, and they are computed again")
        return views

    def _encode_views(self, views: int) -> torch.Tensor:
        """All augmented versions: (V, N, C, h, w)."""
        generator = torch.Generator().manual_seed(VIEWS_SEED)
        parts = torch.split(torch.arange(len(self._dataset)), ENCODE_ROWS)
        seen = []
        with told_steps("latents", views * len(parts)) as steps:
            for _ in range(views):
                for part in parts:
                    seen.append(self._encode(part, generator))
                    steps.advance(f"{len(part)} images each")
        return torch.stack([torch.cat(seen[i * len(parts) :][: len(parts)]) for i in range(views)])

    def _encode(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        images = self._augmentation(self._dataset.batch(rows), generator)
        return self._vae.encode(images.contiguous()).float().cpu()
