"""What is compared: pictures to train on as latents, and a judge who has seen all pictures to test with.

Both are computed once and kept in the study's folder. Knows no model that makes pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scaling.plan import Plan
from benchmarks.scaling.results import Quality
from dit_serve.models.evaluation.fashion import FashionNetwork, load_fashion_network
from dit_serve.models.evaluation.manifolds import precision_recall
from dit_serve.models.evaluation.statistics import Statistics, frechet_distance, statistics_of
from dit_serve.models.options import expanded
from dit_serve.models.training.datasets import Dataset, open_dataset
from dit_serve.models.training.fashion import IdxPictures, is_idx_folder
from dit_serve.models.training.latents import Augmentation, LatentSource
from dit_serve.models.training.saving import replacing
from dit_serve.models.vae import VAE, load_vae

ROWS = 64  # pictures at once, in every network here
FEATURES = "test-features.npy"
LATENTS = "latents.safetensors"
CACHE_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Pictures:
    """Both parts of the data, and the autoencoder between pictures and latents."""

    train: Dataset
    test: Dataset
    vae: VAE


class First:
    """The first pictures of a dataset."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.labels = dataset.labels[:count]
        self._dataset = dataset

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, by class id."""
        return self._dataset.names

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """The images of `rows`: (n,) int64 -> (n, 3, H, W) float32 in [-1, 1]."""
        return self._dataset.batch(rows)


def open_parts(data: str, resolution: int) -> tuple[Dataset, Dataset]:
    """The part to train on and the part to test with.

    Raises:
        ValueError: the data have no part to test with, or are not there.
    """
    if data == "fashion":
        return open_dataset("fashion", resolution), open_dataset("fashion-test", resolution)
    folder = Path(expanded(data))
    if not is_idx_folder(folder):
        raise ValueError(f"--data must be fashion or a folder with MNIST's four files, train and t10k, got {data!r}")
    return IdxPictures(folder, "train", resolution), IdxPictures(folder, "test", resolution)


def open_pictures(data: str, plan: Plan, vae: Path) -> Pictures:
    """The plan's share of the data, with their autoencoder.

    Raises:
        ValueError: as of `open_parts`.
        CheckpointError: the autoencoder cannot be read.
    """
    train, test = open_parts(data, plan.resolution)
    if plan.most_pictures is not None:
        train, test = First(train, plan.most_pictures), First(test, plan.most_pictures)
    return Pictures(train, test, load_vae(vae, device=torch.device("cpu"), dtype=torch.float32))


def open_latents(pictures: Pictures, out: Path) -> LatentSource:
    """What every run is trained on; encoded the first time, and kept in `out`.

    Raises:
        CheckpointError: they cannot be written.
    """
    return LatentSource(pictures.train, pictures.vae, Augmentation(), 1, CACHE_BYTES, kept=out / LATENTS)


class Judge:
    """Says how good pictures are, by their features and those of the pictures to test with."""

    def __init__(self, test: Dataset, out: Path) -> None:
        """Takes the test pictures' features from `out`, or computes them and keeps them there."""
        self._network: FashionNetwork = load_fashion_network()
        kept = out / FEATURES
        if not kept.is_file():
            features, _ = self._seen(as_bytes(test.batch(rows)) for rows in torch.split(torch.arange(len(test)), ROWS))
            with replacing(kept) as partial, partial.open("wb") as file:
                np.save(file, features)
        self._features: NDArray[np.float32] = np.load(kept)
        self._statistics: Statistics = statistics_of(self._features)

    def quality(self, pictures: Iterable[torch.Tensor], class_ids: torch.Tensor) -> Quality:
        """How good pictures are that should be of these classes.

        Args:
            pictures: batches (n, 3, H, W) uint8.
            class_ids: (N,) int64 of all of them.
        """
        features, read = self._seen(pictures)
        reference = self._features[spread(len(self._features), len(features)).numpy()]
        precision, recall = precision_recall(features, reference)
        return Quality(
            pictures=len(features),
            distance=frechet_distance(statistics_of(features), self._statistics),
            precision=precision,
            recall=recall,
            recognised=float(np.mean(read == class_ids.numpy())),
        )

    def _seen(self, pictures: Iterable[torch.Tensor]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features (N, D) of batches of pictures, and the classes (N,) that they are read as."""
        found = [self._network(batch) for batch in pictures]
        features = torch.cat([each.pooled for each in found]).float().numpy()
        return features, torch.cat([each.probabilities for each in found]).argmax(1).numpy()


def floors(pictures: Pictures, judge: Judge, count: int) -> dict[str, Quality]:
    """The quality of pictures that no model made: of the train part, and of the test part encoded and decoded."""
    seen = spread(len(pictures.train), count)
    tested = spread(len(pictures.test), count)
    untouched = (as_bytes(pictures.train.batch(rows)) for rows in torch.split(seen, ROWS))
    restored = (decoded(pictures.vae, pictures.vae.encode(pictures.test.batch(r))) for r in torch.split(tested, ROWS))
    return {
        "train": judge.quality(untouched, pictures.train.labels[seen]),
        "restored": judge.quality(restored, pictures.test.labels[tested]),
    }


def decoded(vae: VAE, latents: torch.Tensor) -> torch.Tensor:
    """The pictures of latents (n, C, h, w): (n, 3, H, W) uint8."""
    return vae.decode(latents).permute(0, 3, 1, 2)


def as_bytes(images: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 3, H, W) in [-1, 1] as uint8."""
    return ((images + 1.0) * 127.5).round().to(torch.uint8)


def spread(total: int, count: int) -> torch.Tensor:
    """At most `count` rows of `total`, evenly spaced: int64."""
    count = min(count, total)
    return torch.arange(count) * total // count
