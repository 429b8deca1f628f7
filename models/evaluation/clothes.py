"""The judge of Fashion-MNIST's clothes: the shipped classifier, and the part that nothing was trained on.

    python -m dit_serve.models.evaluation.clothes fashion-64

says beside a model's figures what they are to be held against: how far real pictures are from real ones, what the
autoencoder alone does, and whether pictures are copies of what was trained on. Needs Debian's package
dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dit_serve.models.evaluation.fashion import SIDE, load_fashion_network
from dit_serve.models.evaluation.statistics import frechet_distance, statistics_of
from dit_serve.models.training.fashion import FASHION_NAMES, IdxPictures, open_fashion
from dit_serve.models.training.upsampling import area_averages

AT_ONCE = 500


class ClothesJudge:
    """Reads clothes as the shipped classifier does.

    Attributes:
        names: of the clothes.
        real: of the test part.
    """

    names = FASHION_NAMES

    def __init__(self) -> None:
        self._network = load_fashion_network()
        features, _ = self.read_all(open_fashion("test", 64))
        self.real = statistics_of(features)

    def read(self, images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The features (N, 128) of images (H, W, 3), and the classes (N,) that it reads."""
        found = self._network(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
        return found.pooled.numpy(), found.probabilities.argmax(1).numpy()

    def read_all(self, pictures: IdxPictures, count: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features and classes of the first `count` pictures of a dataset."""
        rows = torch.arange(count or len(pictures))
        parts = [self.read(to_pixels(pictures.batch(some))) for some in torch.split(rows, AT_ONCE)]
        return np.concatenate([features for features, _ in parts]), np.concatenate([classes for _, classes in parts])


def nearest(scans: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """The root mean square difference of each scan (N, P) in 0..255 to the nearest of others (M, P): (N,)."""
    squares = np.square(others).sum(1)
    least = [np.min(squares - 2.0 * part @ others.T, axis=1) + np.square(part).sum(1) for part in _parts(scans)]
    return np.asarray(np.sqrt(np.concatenate(least).clip(0.0) / scans.shape[1]))


def to_pixels(images: torch.Tensor) -> list[NDArray[np.uint8]]:
    """Images (N, 3, H, W) in [-1, 1] as N of (H, W, 3) uint8."""
    return list(((images + 1.0) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what a model's figures are to be held against."""
    from dit_serve.models.pipeline import load_pipeline

    parser = argparse.ArgumentParser(prog="python -m dit_serve.models.evaluation.clothes", description=main.__doc__)
    parser.add_argument("checkpoint", nargs="?", default="fashion-64", help="a demo's name or a folder")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sampler", default="ddim")
    parser.add_argument("--cfg", type=float, default=1.5, help="guidance scale of the pictures that may be copies")
    options = parser.parse_args(arguments)
    judge, count = ClothesJudge(), options.images
    train, test = open_fashion("train", 64), open_fashion("test", 64)
    features, found = judge.read_all(test)
    print(f"test part: {np.mean(found == test.labels.numpy()):.1%} recognised")
    for size in (600, count):
        distance = frechet_distance(statistics_of(features[:size]), statistics_of(features[-5000:]))
        print(f"{size} test pictures to 5,000 others: {distance:.3f}")
    real = judge.read_all(train, count)[0]
    print(f"{count} train pictures to the test part: {frechet_distance(statistics_of(real), judge.real):.3f}")

    pipeline = load_pipeline(options.checkpoint)
    restored: list[NDArray[np.uint8]] = []
    for rows in torch.split(torch.arange(count), AT_ONCE):
        restored += list(pipeline.vae.decode(pipeline.vae.encode(train.batch(rows).contiguous())).numpy())
    there_and_back, found = judge.read(restored)
    distance = frechet_distance(statistics_of(there_and_back), judge.real)
    share = np.mean(found == train.labels[:count].numpy())
    print(f"the same train pictures through the autoencoder: {distance:.3f}, {share:.1%} recognised")
    class_ids = [i % len(judge.names) for i in range(count)]
    made: Sequence[Any] = pipeline.generate(
        class_ids, range(count), steps=options.steps, guidance_scale=options.cfg, sampler=options.sampler
    )
    trained = _flat(train.scans)
    for name, scans in (("pictures made", to_scans(made)), ("test pictures", _flat(test.scans[:count]))):
        away = nearest(scans, trained)
        shares = ", ".join(f"{q:g} %: {np.percentile(away, q):.1f}" for q in (0, 1, 10, 50))
        print(f"{name} to the nearest of those trained on, grey levels of 255, quantiles: {shares}")


def to_scans(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Images (H, W, 3) uint8 as rows of their 28x28 area averages in 0..255: (N, 784)."""
    parts = [area_averages(np.stack(images[i : i + AT_ONCE]).mean(3), SIDE) for i in range(0, len(images), AT_ONCE)]
    return np.concatenate(parts).reshape(len(images), -1)


def _flat(scans: NDArray[np.uint8]) -> NDArray[np.float64]:
    return scans.reshape(len(scans), -1).astype(np.float64)


def _parts(rows: NDArray[Any]) -> list[NDArray[Any]]:
    return [rows[i : i + AT_ONCE] for i in range(0, len(rows), AT_ONCE)]


if __name__ == "__main__":
    main()
