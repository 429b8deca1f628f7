"""A small network in the place of one with trained weights: fixed random products of pixels, and images to give it."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dit_serve.models.evaluation.networks import Activations

WIDTH, SPATIAL, CLASSES = 12, 8, 5


class StandIn:
    """Twelve pooled features, eight spatial ones and five classes of an image's 4x4 area averages.

    Args:
        seed: of its weights.
    """

    def __init__(self, seed: int = 0) -> None:
        self.name, self.sha256 = "stand-in", f"{seed:064x}"
        self.seen = 0
        generator = torch.Generator().manual_seed(seed)
        self._weights = torch.randn(48, WIDTH + SPATIAL + CLASSES, generator=generator)

    def __call__(self, images: torch.Tensor) -> Activations:
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        self.seen += len(images)
        small = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255.0, 4).flatten(1)
        pooled, spatial, logits = (small @ self._weights).split([WIDTH, SPATIAL, CLASSES], dim=1)
        return Activations(pooled, spatial, logits.softmax(dim=1))


def put_in_place_of_fashion(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Has `--features fashion` take a stand-in; the one that it takes."""
    network = StandIn()
    module = types.ModuleType("fashion")
    module.load_fashion_network = lambda device="cpu": network  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dit_serve.models.evaluation.fashion", module)
    return network


def random_images(count: int, seed: int = 0, side: int = 8) -> np.ndarray:
    """Images (count, side, side, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


def save_npz(path: Path, **arrays: np.ndarray) -> Path:
    """An .npz of these arrays; its path."""
    np.savez(path, **arrays)
    return path


def save_pictures(folder: Path, images: np.ndarray, suffix: str = ".png") -> Path:
    """The images as files in the folder, named by their numbers; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:05d}{suffix}")
    return folder
