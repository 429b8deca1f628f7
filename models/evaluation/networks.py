"""What a network that measures images is, and which there are.

A network turns images into three things: pooled features (FID, KID, precision and recall), spatial features (sFID) and
class probabilities (Inception score). Figures of different networks do not compare, so each has a name and the SHA-256
of its weights, which stand beside every figure.

Knows no network's inside: those are modules of their own, imported when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of the published port


@dataclass(frozen=True, slots=True)
class Activations:
    """What a network says of N images, float32.

    Attributes:
        pooled: (N, D).
        spatial: (N, S), a map of an early layer in one row.
        probabilities: (N, K), each row adding up to 1.
    """

    pooled: torch.Tensor
    spatial: torch.Tensor
    probabilities: torch.Tensor


class FeatureNetwork(Protocol):
    """A network with fixed weights: the same images have the same activations."""

    @property
    def name(self) -> str:
        """What it is, for people and reports."""
        ...

    @property
    def sha256(self) -> str:
        """Of its weights."""
        ...

    def __call__(self, images: torch.Tensor) -> Activations:
        """The activations of images (N, 3, H, W) uint8, on whatever device they are."""
        ...


def load_network(name: str, device: torch.device, inception_weights: str | None = None) -> FeatureNetwork:
    """The network of that name, one of `NETWORKS` (options.py).

    Args:
        device: where it runs.
        inception_weights: file, URL or hub id of the Inception's weights; None for the published ones.

    Raises:
        EvaluationError: it is not installed, or its weights cannot be used.
    """
    if name == "fashion":
        from dit_serve.models.evaluation.fashion import load_fashion_network

        return load_fashion_network(device)
    from dit_serve.models.evaluation.inception import load_inception

    return load_inception(device, inception_weights)
