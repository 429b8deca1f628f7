"""All figures of a comparison: FID, sFID, Inception score, precision, recall and KID, and why one is absent.

Definitions and constants are those of ADM's evaluator (guided-diffusion, evaluations/evaluator.py), in which the
figures of "Scalable Diffusion Models with Transformers" are given; KID is torch-fidelity's. Knows no network and no
image: its sides were measured before (measuring.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.kid import SUBSET_SIZE, kernel_distance
from dit_serve.models.evaluation.manifolds import NEIGHBOURS, precision_recall
from dit_serve.models.evaluation.measuring import Measured
from dit_serve.models.evaluation.statistics import Statistics, frechet_distance

FEW, USUAL = 10_000, 50_000  # images: below the one a figure is warned of, papers take the other
_NO_FEATURES = "has no images, nor in their place features"


@dataclass(slots=True)
class Evaluation:
    """The figures of one comparison; one that cannot be had is None, and `reasons` has why, by its name."""

    fid: float | None = None
    sfid: float | None = None
    inception_score: float | None = None
    inception_score_deviation: float | None = None
    precision: float | None = None
    recall: float | None = None
    kid: float | None = None
    kid_deviation: float | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def compare(samples: Measured, reference: Measured, device: torch.device | None = None) -> Evaluation:
    """The figures of samples against a reference.

    Args:
        device: where distances between features are computed.

    Raises:
        EvaluationError: the two have features of different widths.
    """
    _refuse_other_widths(samples, reference)
    found = Evaluation()
    found.fid = _distance(found, "fid", samples, reference, (samples.pooled, reference.pooled))
    found.sfid = _distance(found, "sfid", samples, reference, (samples.spatial, reference.spatial))
    if samples.inception_score is None:
        found.reasons["inception_score"] = f"{samples.name} has no images, nor in their place probabilities"
    else:
        found.inception_score = samples.inception_score.mean
        found.inception_score_deviation = samples.inception_score.deviation or None  # 0 where there is one run
    _add_neighbours(found, samples, reference, device)
    found.warnings += dict.fromkeys(_warnings(samples, reference))
    return found


def _distance(
    found: Evaluation,
    figure: str,
    samples: Measured,
    reference: Measured,
    statistics: tuple[Statistics | None, Statistics | None],
) -> float | None:
    first, second = statistics
    if first is None or second is None:
        of = samples if first is None else reference
        names = "mu and sigma, or features" if figure == "fid" else "mu_s and sigma_s, or spatial"
        found.reasons[figure] = f"{of.name} has no images, nor in their place {names}"
        return None
    return frechet_distance(first, second)


def _add_neighbours(found: Evaluation, samples: Measured, reference: Measured, device: torch.device | None) -> None:
    """Precision, recall and KID, which need every image's features."""
    for side in (samples, reference):
        if side.features is None:
            for figure in ("precision", "recall", "kid"):
                found.reasons.setdefault(figure, f"{side.name} {_NO_FEATURES}")
    if samples.features is None or reference.features is None:
        return
    distance = kernel_distance(samples.features, reference.features)
    found.kid, found.kid_deviation = distance.mean, distance.deviation
    if min(len(samples.features), len(reference.features)) <= NEIGHBOURS:
        found.reasons |= dict.fromkeys(("precision", "recall"), f"they need more than {NEIGHBOURS} images of each side")
        return
    found.precision, found.recall = precision_recall(samples.features, reference.features, device=device)


def _refuse_other_widths(samples: Measured, reference: Measured) -> None:
    """Features of different widths are of different networks."""
    for what, first, second in (
        ("pooled", _width(samples), _width(reference)),
        ("spatial", samples.spatial and samples.spatial.width, reference.spatial and reference.spatial.width),
    ):
        if first is not None and second is not None and first != second:
            raise EvaluationError(
                f"{samples.name}: has {what} features of {first} numbers, and {reference.name} of {second}: take both "
                "of one network"
            )


def _width(side: Measured) -> int | None:
    """How many numbers a pooled feature has."""
    if side.features is not None:
        return int(side.features.shape[1])
    return None if side.pooled is None else side.pooled.width


def _warnings(samples: Measured, reference: Measured) -> Iterator[str]:
    """What whoever reads the figures should know of the sides."""
    for side in (samples, reference):
        if side.count is not None and side.count < FEW:
            yield (
                f"{side.name}: has {side.count} images, fewer than {FEW:,}: figures of so few are far from those of "
                f"{USUAL:,}, which papers take"
            )
        if side.features is not None and len(side.features) < SUBSET_SIZE:
            yield f"{side.name}: KID takes subsets of {len(side.features)} images, not of {SUBSET_SIZE:,}"
    width = _width(samples)
    if samples.count is not None and width is not None and samples.count <= width:
        yield (
            f"{samples.name}: the covariance of {width} features is singular for {samples.count} images, and FID says "
            f"little: take more than {width}"
        )
