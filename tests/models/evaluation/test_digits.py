"""The judge of digits, and what the demo's quality is measured with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dit_serve.models.evaluation.demo_quality import Pixels, Quality, best_distance, judge_of, measure
from dit_serve.models.evaluation.digits import DigitsJudge, to_scans
from dit_serve.models.evaluation.statistics import frechet_distance, statistics_of
from dit_serve.models.training.datasets import DIGIT_NAMES, split_digits, upsample_digits


@pytest.fixture(scope="module")
def judge() -> DigitsJudge:
    return DigitsJudge()


def _as_images(scans: np.ndarray) -> list[Pixels]:
    return list(np.repeat(upsample_digits(scans, 64)[..., None], 3, axis=3))


def test_judge_reads_ninety_nine_percent_of_the_held_out_quarter(judge: DigitsJudge) -> None:
    _, (held_out, labels) = split_digits()
    _, found = judge.read(_as_images(held_out))
    assert np.mean(found == labels) >= 0.985


def test_train_part_is_its_known_distance_from_the_held_out_quarter(judge: DigitsJudge) -> None:
    (train, _), (held_out, _) = split_digits()
    assert frechet_distance(statistics_of(train), judge.real) == pytest.approx(22.64, abs=0.01)
    assert frechet_distance(statistics_of(held_out), judge.real) == pytest.approx(0.0, abs=1e-4)


def test_scans_of_up_sampled_images_are_the_scans() -> None:
    _, (scans, _) = split_digits()
    found = to_scans(_as_images(scans[:50]))
    assert np.sqrt(np.mean((found - scans[:50]) ** 2)) < 0.25


def test_measure_asks_for_classes_in_turn_with_seeds_from_zero(judge: DigitsJudge) -> None:
    asked: list[tuple[list[int], list[int], float]] = []
    given: list[np.ndarray] = []
    _, (scans, labels) = split_digits()

    def held_out_digits(class_ids: Sequence[int], seeds: Sequence[int], guidance_scale: float) -> list[Pixels]:
        asked.append((list(class_ids), list(seeds), guidance_scale))
        pairs = zip(class_ids, seeds, strict=True)
        given.append(np.stack([scans[labels == class_id][seed // 10 % 40] for class_id, seed in pairs]))
        return _as_images(given[-1])

    quality = measure(held_out_digits, judge, 1.5, 250)
    assert [len(seeds) for _, seeds, _ in asked] == [100, 100, 50]
    assert [seed for _, seeds, _ in asked for seed in seeds] == list(range(250))
    assert asked[0][0][:11] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert quality.recognised >= 0.97
    assert (quality.guidance_scale, quality.images) == (1.5, 250)
    expected = frechet_distance(statistics_of(np.concatenate(given)), judge.real)
    assert quality.distance == pytest.approx(expected, rel=0.1)


def test_best_is_the_smallest_distance() -> None:
    measured = [Quality(1.0, 0.9, 60.0, 10), Quality(1.5, 0.95, 50.0, 10), Quality(4.0, 1.0, 90.0, 10)]
    assert best_distance(measured).guidance_scale == 1.5


def test_the_judge_is_the_one_who_knows_the_classes() -> None:
    assert isinstance(judge_of(DIGIT_NAMES), DigitsJudge)
    with pytest.raises(ValueError, match="no judge knows the classes otter, heron"):
        judge_of(["otter", "heron"])
