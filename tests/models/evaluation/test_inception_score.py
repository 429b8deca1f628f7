"""The Inception score, against the formula on whole arrays as ADM's evaluator has it."""

from __future__ import annotations

import numpy as np
import pytest

from dit_serve.models.evaluation.inception_score import RUN, InceptionScore, Score


def probabilities(count: int, classes: int = 7, seed: int = 0) -> np.ndarray:
    exponentials = np.exp(np.random.default_rng(seed).normal(size=(count, classes)) * 3.0)
    return (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


def score_of(rows: np.ndarray, *, run: int = RUN, batch: int = 33) -> Score:
    adder = InceptionScore(run)
    for first in range(0, len(rows), batch):
        adder.add(rows[first : first + batch])
    return adder.score()


def by_the_formula(rows: np.ndarray, run: int) -> list[float]:
    scores = []
    for first in range(0, len(rows), run):
        part = rows[first : first + run].astype(np.float64)
        divergence = (part * (np.log(part) - np.log(part.mean(axis=0)))).sum(axis=1)
        scores.append(float(np.exp(divergence.mean())))
    return scores


@pytest.mark.parametrize(("count", "run"), [(100, 100), (100, 30), (101, 50), (20, 5000), (64, 1)])
def test_score_is_the_mean_over_runs_and_the_last_may_be_short(count: int, run: int) -> None:
    rows = probabilities(count)
    expected = by_the_formula(rows, run)
    found = score_of(rows, run=run)
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.deviation == pytest.approx(np.std(expected), rel=1e-9, abs=1e-12)


def test_score_does_not_depend_on_batches() -> None:
    rows = probabilities(200)
    assert score_of(rows, run=70, batch=1).mean == pytest.approx(score_of(rows, run=70, batch=200).mean, rel=1e-12)


def test_runs_have_five_thousand_images_as_in_the_evaluator() -> None:
    rows = probabilities(12_000, classes=3)
    assert score_of(rows, batch=4096).mean == pytest.approx(np.mean(by_the_formula(rows, 5000)), rel=1e-12)


def test_certain_and_balanced_classes_score_their_number() -> None:
    assert score_of(np.eye(6)[np.arange(600) % 6]).mean == pytest.approx(6.0, rel=1e-12)


def test_images_sorted_by_class_score_less() -> None:
    certain = np.eye(6)[np.arange(600) % 6]
    assert score_of(np.sort(certain, axis=0), run=100).mean < score_of(certain, run=100).mean


def test_no_image_has_no_score() -> None:
    with pytest.raises(ValueError, match="got none"):
        InceptionScore().score()
