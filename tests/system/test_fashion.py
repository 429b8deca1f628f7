"""On the real Fashion-MNIST: the classifier reads it; the demo's clothes are read, are no copies, and are measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from dit_serve.models.evaluation.clothes import ClothesJudge, nearest, to_scans
from dit_serve.models.evaluation.demo_quality import Pixels, judge_of
from dit_serve.models.pipeline import load_pipeline
from dit_serve.models.training.fashion import open_fashion

pytestmark = pytest.mark.system
IMAGES = 600


@pytest.fixture(scope="module")
def judge() -> ClothesJudge:
    return ClothesJudge()


@pytest.fixture(scope="module")
def clothes() -> list[Pixels]:
    """Of the demo, classes in turn, at the guidance scale of the paper's best figures."""
    class_ids = [i % 10 for i in range(IMAGES)]
    made = load_pipeline("fashion-64").generate(
        class_ids, range(IMAGES), steps=20, guidance_scale=1.5, sampler="dpm++"
    )
    return cast(list[Pixels], made)


def test_the_classifier_reads_ninety_one_percent_of_what_it_never_saw(judge: ClothesJudge) -> None:
    test = open_fashion("test", 64)
    _, found = judge.read_all(test)
    assert np.mean(found == test.labels.numpy()) >= 0.91


def test_the_judge_of_clothes_is_known_by_their_names(judge: ClothesJudge) -> None:
    assert type(judge_of(judge.names)) is ClothesJudge


def test_clothes_are_recognised(judge: ClothesJudge, clothes: list[Pixels]) -> None:
    _, found = judge.read(clothes)
    assert np.mean(found == np.arange(IMAGES) % 10) >= 0.87  # of 2,000 more are; this leaves room for chance


def test_no_picture_is_a_copy(clothes: list[Pixels]) -> None:
    trained = open_fashion("train", 64).scans.reshape(60_000, -1).astype(np.float64)
    unseen = open_fashion("test", 64).scans[:IMAGES].reshape(IMAGES, -1).astype(np.float64)
    made, real = nearest(to_scans(clothes), trained), nearest(unseen, trained)
    assert np.median(made) > 0.8 * np.median(real)
    assert made.min() > 0.5 * real.min()


def test_the_demo_is_evaluated_without_a_download(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dit_serve", "evaluate", "fashion-64", "fashion-test", "--features", "fashion"]
    command += ["--images", "300", "--steps", "10", "--sampler", "ddim", "--json", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["samples"], found["reference_samples"]) == (300, 10_000)
    assert found["fid"] > 0
    assert found["sfid"] > 0
    assert 5 < found["inception_score"] <= 10
    assert 0 < found["precision"] <= 1
    assert 0 < found["recall"] <= 1
    assert found["kid"] is not None
    assert "10,000" in done.stderr
