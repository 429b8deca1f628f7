"""The judge and the distance that the demo's quality is measured with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dit_serve.models.evaluation.digits import (
    Judge,
    Pixels,
    Quality,
    best_distance,
    frechet_distance,
    measure,
    to_scans,
)
from dit_serve.models.training.datasets import split_digits, upsample_digits


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def _as_images(scans: np.ndarray) -> list[Pixels]:
    return list(np.repeat(upsample_digits(scans, 64)[..., None], 3, axis=3))


def test_judge_reads_ninety_nine_percent_of_the_held_out_quarter(judge: Judge) -> None:
    _, (held_out, labels) = split_digits()
    assert judge.recognised(held_out, labels.tolist()) >= 0.985


def test_train_part_is_its_known_distance_from_the_held_out_quarter(judge: Judge) -> None:
    (train, _), _ = split_digits()
    assert judge.distance(train) == pytest.approx(22.64, abs=0.01)
    assert judge.distance(judge.held_out) == pytest.approx(0.0, abs=1e-4)


def test_frechet_distance_of_independent_axes_is_the_closed_form() -> None:
    # a sample whose mean and covariance are exactly zero and one: all corners of a cube, scaled for the n - 1
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T * np.sqrt(7 / 8)
    a = corners * [1.0, 2.0, 3.0] + [0.5, 0.0, -1.0]
    b = corners * [2.0, 2.0, 0.5]
    expected = 0.5**2 + 1.0**2 + (2 - 1) ** 2 + 0 + (3 - 0.5) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_does_not_see_a_common_rotation() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 5)) * [1, 2, 3, 4, 5], rng.normal(size=(200, 5)) + 1.0
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_scans_of_up_sampled_images_are_the_scans() -> None:
    _, (scans, _) = split_digits()
    found = to_scans(_as_images(scans[:50]))
    assert np.sqrt(np.mean((found - scans[:50]) ** 2)) < 0.25


def test_measure_asks_for_classes_in_turn_with_seeds_from_zero(judge: Judge) -> None:
    asked: list[tuple[list[int], list[int], float]] = []
    _, (scans, labels) = split_digits()

    def held_out_digits(class_ids: Sequence[int], seeds: Sequence[int], guidance_scale: float) -> list[Pixels]:
        asked.append((list(class_ids), list(seeds), guidance_scale))
        pairs = zip(class_ids, seeds, strict=True)
        return _as_images(np.stack([scans[labels == class_id][seed // 10 % 40] for class_id, seed in pairs]))

    quality = measure(held_out_digits, judge, 1.5, 250)
    assert [len(seeds) for _, seeds, _ in asked] == [100, 100, 50]
    assert [seed for _, seeds, _ in asked for seed in seeds] == list(range(250))
    assert asked[0][0][:11] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert quality.recognised >= 0.97
    assert (quality.guidance_scale, quality.images) == (1.5, 250)


def test_best_is_the_smallest_distance() -> None:
    measured = [Quality(1.0, 0.9, 60.0, 10), Quality(1.5, 0.95, 50.0, 10), Quality(4.0, 1.0, 90.0, 10)]
    assert best_distance(measured).guidance_scale == 1.5
