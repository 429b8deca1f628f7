"""A small classifier of Fashion-MNIST as a network of features: what Inception is for photographs, without a download.

Four convolutions and 128 features; it sees pictures of any side as their area averages over 28x28 squares, the
dataset's own form. Trained on the train part alone by fashion_training.py, so the test part judges it, and it judges
what others generate. Distances in its features compare with one another and with no published figure.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import nn

from dit_serve.models.evaluation.networks import Activations
from dit_serve.models.training.upsampling import average_matrix

WEIGHTS = Path(__file__).parent / "fashion.safetensors"
SIDE = 28  # of what it sees
CHANNELS = (24, 48, 96, 128)  # of the convolutions; the last are the features
SPATIAL_CHANNELS = 8  # of the last map, 7x7, that tell where things are: as ADM takes a few of Inception's
MEAN, DEVIATION = 0.2860, 0.3530  # of the train part's pixels in [0, 1]


class FashionClassifier(nn.Module):
    """The network: (N, 1, 28, 28) in [0, 1] -> the last map (N, 128, 7, 7), whose mean over places are the features."""

    def __init__(self) -> None:
        super().__init__()
        one, two, three, four = CHANNELS
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(1, one, 3, padding=1, bias=False),
                nn.Conv2d(one, two, 3, stride=2, padding=1, bias=False),
                nn.Conv2d(two, three, 3, padding=1, bias=False),
                nn.Conv2d(three, four, 3, stride=2, padding=1, bias=False),
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for channels in CHANNELS])
        self.head = nn.Linear(four, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last map: (N, 1, 28, 28) float32 in [0, 1] -> (N, 128, 7, 7)."""
        x = (images - MEAN) / DEVIATION
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)))
        return x

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the classes' logits: (N, 1, 28, 28) -> (N, 10)."""
        logits: torch.Tensor = self.head(self(images).mean((2, 3)))
        return logits


class FashionNetwork:
    """The shipped classifier as a network of features.

    Attributes:
        name: of the network, as results say it.
        sha256: of its weights.
    """

    name = "fashion"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        stored = WEIGHTS.read_bytes()
        self.sha256 = hashlib.sha256(stored).hexdigest()
        self._classifier = FashionClassifier()
        self._classifier.load_state_dict(load(stored))
        self._classifier.to(device).eval()
        self._device = torch.device(device)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> Activations:
        """Return pooled (N, 128), spatial (N, 392) and probabilities (N, 10) of images (N, 3, H, W) uint8."""
        found = self._classifier(seen(images.to(self._device)))
        pooled = found.mean((2, 3))
        spatial = found[:, :SPATIAL_CHANNELS].flatten(1)
        return Activations(pooled, spatial, self._classifier.head(pooled).softmax(1))


def load_fashion_network(device: str | torch.device = "cpu") -> FashionNetwork:
    """Return the shipped classifier on a device."""
    return FashionNetwork(device)


def seen(images: torch.Tensor) -> torch.Tensor:
    """Return images as the network sees them: (N, 3, H, W) uint8 -> (N, 1, 28, 28) float32 in [0, 1].

    Raises:
        ValueError: they are smaller than what it sees.
    """
    height, width = images.shape[-2:]
    if min(height, width) < SIDE:
        raise ValueError(f"the fashion network sees pictures of at least {SIDE} pixels, got {height}x{width}")
    rows, columns = (
        torch.from_numpy(average_matrix(side, SIDE).astype(np.float32)).to(images.device) for side in (height, width)
    )
    grey = images.float().mean(1, keepdim=True) / 255.0
    return rows @ grey @ columns.T
