"""What one side of a comparison comes to: features, statistics and Inception score, by a network or as a file says.

Pooled features are kept, for precision, recall and KID need them all; everything else is added up while images go by,
so that no list of them ever exists. Knows no figure that takes two sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.archives import Archive
from dit_serve.models.evaluation.inception_score import InceptionScore, Score
from dit_serve.models.evaluation.networks import Activations, FeatureNetwork
from dit_serve.models.evaluation.sources import ImageSource
from dit_serve.models.evaluation.statistics import Moments, Statistics, statistics_of
from dit_serve.models.progress import progress_bar

_TENTHS = 10  # lines where there is no terminal


@dataclass(frozen=True, slots=True)
class Measured:
    """One side of a comparison; what cannot be had of it is None.

    Attributes:
        name: as it was given.
        count: images that the features are of; None where there are statistics alone.
        features: pooled, (N, D) float32.
        pooled, spatial: statistics of the features.
        inception_score: of the images alone.
    """

    name: str
    count: int | None = None
    features: NDArray[np.float32] | None = None
    pooled: Statistics | None = None
    spatial: Statistics | None = None
    inception_score: Score | None = None


def measure(source: ImageSource, network: FeatureNetwork, batch_size: int) -> Measured:
    """What a network makes of images, all gone through once.

    Raises:
        EvaluationError: an image cannot be read, or the network gives what is no finite number.
    """
    features: NDArray[np.float32] | None = None
    pooled, spatial, score = Moments(), Moments(), InceptionScore()
    done = 0
    with progress_bar() as progress:
        task = progress.add_task("measuring", total=source.count)
        for images in source.batches(batch_size):
            found = _on_processor(network(images), source.name)
            if features is None:
                features = np.empty((source.count, found[0].shape[1]), np.float32)
            features[done : done + len(images)] = found[0]
            pooled.add(found[0])
            spatial.add(found[1])
            score.add(found[2])
            before, done = done, done + len(images)
            progress.advance(task, len(images))
            if progress.disable and done * _TENTHS // source.count > before * _TENTHS // source.count:
                progress.console.print(f"{source.name}: {done} of {source.count} images", soft_wrap=True)
    if features is None or done != source.count:
        raise EvaluationError(f"{source.name}: changed while it was measured: wait until it is written")
    return Measured(source.name, done, features, pooled.statistics(), spatial.statistics(), score.score())


def from_archive(archive: Archive) -> Measured:
    """What an .npz says without a network: its statistics, and those of the features that it holds.

    Raises:
        EvaluationError: an array in it is damaged, or is not what its name says.
    """
    features = np.asarray(archive["features"], np.float32) if "features" in archive else None
    score, count = None, None if features is None else len(features)
    if "probabilities" in archive:
        probabilities = archive["probabilities"]
        _refuse_improbable(archive, probabilities)
        adder = InceptionScore()
        adder.add(probabilities)
        score, count = adder.score(), len(probabilities)
    spatial = None
    if "spatial" in archive:
        spatial, count = statistics_of(archive["spatial"]), archive.entries["spatial"].shape[0]
    pooled = None if features is None else statistics_of(features)
    name = str(archive.path)
    stored = Measured(
        name,
        pooled=_stored_statistics(archive, "mu", "sigma"),
        spatial=_stored_statistics(archive, "mu_s", "sigma_s"),
    )
    return with_stored(Measured(name, count, features, pooled, spatial, score), stored)


def with_stored(measured: Measured, stored: Measured) -> Measured:
    """What was measured, with the statistics that the file itself brings in the place of those of its images.

    The published references have statistics of all training images beside 10,000 of them.

    Raises:
        EvaluationError: they are of another network's features.
    """
    for what, own, brought in (("mu", measured.pooled, stored.pooled), ("mu_s", measured.spatial, stored.spatial)):
        if own is not None and brought is not None and own.width != brought.width:
            raise EvaluationError(
                f"{stored.name}: {what} has {brought.width} numbers, and the features {own.width}: it is of another "
                "network (--features)"
            )
    return replace(measured, pooled=stored.pooled or measured.pooled, spatial=stored.spatial or measured.spatial)


def _stored_statistics(archive: Archive, mean: str, covariance: str) -> Statistics | None:
    if mean not in archive:
        return None
    matrix = np.asarray(archive[covariance], np.float64)
    if not np.allclose(matrix, matrix.T, rtol=1e-3, atol=1e-6 * max(1.0, float(np.abs(matrix).max()))):
        raise EvaluationError(f"{archive.path}: {covariance} is no covariance, it is not symmetric: compute it anew")
    return Statistics(np.asarray(archive[mean], np.float64), (matrix + matrix.T) / 2.0)


def _refuse_improbable(archive: Archive, probabilities: np.ndarray) -> None:
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if probabilities.min() < 0.0 or not np.allclose(sums, 1.0, atol=1e-2):
        raise EvaluationError(
            f"{archive.path}: probabilities has rows that are negative or do not add up to 1: take them after a softmax"
        )


def _on_processor(found: Activations, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = tuple(each.float().cpu().numpy() for each in (found.pooled, found.spatial, found.probabilities))
    if not all(np.isfinite(each).all() for each in rows):
        raise EvaluationError(f"{name}: the network gives NaN or infinity for an image: its weights are damaged")
    return rows[0], rows[1], rows[2]

