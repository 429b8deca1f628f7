"""Whole comparisons: every figure against an independent one, what is absent and why, what is warned of, the cache."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation import caching
from dit_serve.models.evaluation.kid import kernel_distance
from dit_serve.models.evaluation.manifolds import precision_recall
from dit_serve.models.evaluation.options import Sampling, Wanted
from dit_serve.models.evaluation.sides import Report, evaluate
from tests.models.evaluation.standin import StandIn, put_in_place_of_fashion, random_images, save_npz, save_pictures

FIGURES = ("fid", "sfid", "inception_score", "precision", "recall", "kid")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return put_in_place_of_fashion(monkeypatch)


def compared(samples: Path | str, reference: Path | str, **wishes: object) -> Report:
    return evaluate(str(samples), str(reference), Wanted(features="fashion", **wishes))  # type: ignore[arg-type]


def activations(images: np.ndarray) -> list[np.ndarray]:
    """Pooled, spatial and probabilities by a stand-in of its own, all images at once."""
    found = StandIn()(torch.from_numpy(images).permute(0, 3, 1, 2))
    return [each.double().numpy() for each in (found.pooled, found.spatial, found.probabilities)]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    offset = a.mean(axis=0) - b.mean(axis=0)
    return float(offset @ offset + np.trace(first + second - 2.0 * sqrtm(first @ second).real))


def test_every_figure_is_that_of_the_networks_features(network: StandIn, tmp_path: Path) -> None:
    first, second = random_images(90), random_images(70, seed=1) // 2
    report = compared(save_npz(tmp_path / "a.npz", arr_0=first), save_pictures(tmp_path / "b", second), batch_size=16)
    (pooled, spatial, probabilities), (other_pooled, other_spatial, _) = activations(first), activations(second)
    found = report.evaluation
    assert found.fid == pytest.approx(distance(pooled, other_pooled), rel=1e-5)
    assert found.sfid == pytest.approx(distance(spatial, other_spatial), rel=1e-5)
    logs = np.log(probabilities) - np.log(probabilities.mean(axis=0))
    assert found.inception_score == pytest.approx(np.exp((probabilities * logs).sum(axis=1).mean()), rel=1e-5)
    expected = precision_recall(pooled.astype(np.float32), other_pooled.astype(np.float32))
    assert (found.precision, found.recall) == pytest.approx(expected, abs=0.02)
    assert found.kid is not None
    assert found.kid > 0.0
    assert (report.samples, report.reference_samples) == (90, 70)
    assert (report.network, report.network_sha256) == (network.name, network.sha256)
    assert found.reasons == {}


def test_features_in_a_file_are_measured_as_they_are_and_without_a_network(tmp_path: Path) -> None:
    pooled, spatial, probabilities = activations(random_images(60))
    samples = save_npz(tmp_path / "a.npz", features=pooled, spatial=spatial, probabilities=probabilities)
    pooled, spatial, _ = activations(random_images(50, seed=1))
    report = evaluate(str(samples), str(save_npz(tmp_path / "b.npz", features=pooled, spatial=spatial)), Wanted())
    assert all(getattr(report.evaluation, figure) is not None for figure in FIGURES)
    first = np.load(samples)["features"].astype(np.float32)
    assert report.evaluation.kid == kernel_distance(first, pooled.astype(np.float32)).mean
    assert (report.network, report.network_sha256) == (None, None)


def test_statistics_alone_give_the_distances_and_say_what_the_rest_needs(tmp_path: Path) -> None:
    pooled, spatial, _ = activations(random_images(60))
    samples = save_npz(tmp_path / "a.npz", features=pooled, spatial=spatial)
    other, other_spatial, _ = activations(random_images(50, seed=1))
    statistics = {"mu": other.mean(axis=0), "sigma": np.cov(other, rowvar=False)}
    spatial_too = {"mu_s": other_spatial.mean(axis=0), "sigma_s": np.cov(other_spatial, rowvar=False)}
    report = evaluate(str(samples), str(save_npz(tmp_path / "b.npz", **statistics, **spatial_too)), Wanted())
    found = report.evaluation
    assert found.fid == pytest.approx(distance(pooled, other), rel=1e-6)
    assert found.sfid == pytest.approx(distance(spatial, other_spatial), rel=1e-6)
    assert (found.precision, found.recall, found.kid, found.inception_score) == (None,) * 4
    assert set(found.reasons) == {"precision", "recall", "kid", "inception_score"}
    assert "b.npz has no images" in found.reasons["kid"]
    assert report.reference_samples is None


def test_statistics_beside_images_are_those_of_the_distances(network: StandIn, tmp_path: Path) -> None:
    """As the published references have them: of all training images, with some of these images."""
    shown, every = random_images(40), random_images(80, seed=1)
    pooled, spatial, _ = activations(every)
    reference = save_npz(
        tmp_path / "reference.npz", arr_0=shown, mu=pooled.mean(axis=0), sigma=np.cov(pooled, rowvar=False),
        mu_s=spatial.mean(axis=0), sigma_s=np.cov(spatial, rowvar=False),
    )
    samples = random_images(60, seed=2)
    report = compared(save_npz(tmp_path / "a.npz", arr_0=samples), reference)
    own, own_spatial, _ = activations(samples)
    assert report.evaluation.fid == pytest.approx(distance(own, pooled), rel=1e-5)
    assert report.evaluation.sfid == pytest.approx(distance(own_spatial, spatial), rel=1e-5)
    some = activations(shown)[0].astype(np.float32)
    assert report.evaluation.precision == pytest.approx(precision_recall(own.astype(np.float32), some)[0], abs=0.02)
    assert report.reference_samples == 40


def test_widths_of_another_network_are_refused_before_anything_is_measured(network: StandIn, tmp_path: Path) -> None:
    samples = save_npz(tmp_path / "a.npz", arr_0=random_images(30))
    for name, arrays in (
        ("features", {"features": np.random.default_rng(0).normal(size=(9, 7))}),
        ("statistics", {"mu": np.zeros(7), "sigma": np.eye(7)}),
        ("spatial", {"mu_s": np.zeros(7), "sigma_s": np.eye(7)}),
    ):
        with pytest.raises(EvaluationError, match="choose the network that they are of"):
            compared(samples, save_npz(tmp_path / f"{name}.npz", **arrays))
    assert network.seen == 3 * 2  # a look at two black images each
    with pytest.raises(EvaluationError, match="take both of one network"):
        compared(save_npz(tmp_path / "b.npz", features=np.eye(4)), tmp_path / "features.npz")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.5], [0.0, 1.0]])}, "not symmetric"),
        ({"features": np.eye(3), "probabilities": np.ones((3, 4))}, "after a softmax"),
        ({"features": np.eye(3), "mu": np.zeros(2), "sigma": np.eye(2)}, "mu has 2 numbers, and the features 3"),
    ],
)
def test_arrays_that_contradict_themselves_are_refused(
    arrays: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    other = save_npz(tmp_path / "b.npz", features=np.eye(3))
    with pytest.raises(EvaluationError, match=words):
        compared(save_npz(tmp_path / "a.npz", **arrays), other)


def test_few_images_other_sizes_and_the_same_twice_are_warned_of(network: StandIn, tmp_path: Path) -> None:
    few, wide = save_npz(tmp_path / "a.npz", arr_0=random_images(9)), random_images(30, side=16)
    warnings = "\n".join(compared(few, save_npz(tmp_path / "b.npz", arr_0=wide)).evaluation.warnings)
    assert "a.npz: has 9 images, fewer than 10,000" in warnings
    assert "covariance of 12 features is singular for 9 images" in warnings
    assert "KID takes subsets of 9 images, not of 1,000" in warnings
    assert "images are 8x8, and those of" in warnings
    same = compared(few, few).evaluation
    assert any("compared with itself" in warning for warning in same.warnings)
    assert len(same.warnings) == len(set(same.warnings))
    features = save_npz(tmp_path / "c.npz", features=activations(random_images(30))[0])
    assert any("nothing in it says" in warning for warning in compared(few, features).evaluation.warnings)


def test_three_images_have_no_precision_and_say_so(network: StandIn, tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", arr_0=random_images(3))
    found = compared(path, save_npz(tmp_path / "b.npz", arr_0=random_images(30, seed=1))).evaluation
    assert (found.precision, found.recall) == (None, None)
    assert "more than 3 images" in found.reasons["recall"]
    assert found.kid is not None


def test_a_model_is_measured_against_a_data_set_drawn_in_its_size(network: StandIn, folder: Path) -> None:
    report = compared(folder, "digits", sampling=Sampling(images=20, steps=2, sampler="ddim"))
    assert (report.samples, report.reference_samples) == (20, 1347)
    assert not any("the network scales both" in warning for warning in report.evaluation.warnings)
    with pytest.raises(EvaluationError, match="give --resolution"):
        compared("digits", "digits")


def test_what_was_measured_is_not_measured_again(network: StandIn, tmp_path: Path, own_cache: Path) -> None:
    one, two = (save_npz(tmp_path / f"{i}.npz", arr_0=random_images(30, seed=i)) for i in range(2))
    first = compared(one, two)
    assert network.seen == 60
    again = compared(two, one.rename(tmp_path / "moved.npz"))
    assert network.seen == 60
    assert again.evaluation.fid == pytest.approx(first.evaluation.fid, rel=1e-9)
    assert (again.evaluation.precision, again.evaluation.recall) == (
        first.evaluation.recall, first.evaluation.precision
    )
    compared(tmp_path / "moved.npz", two, is_cached=False)
    assert network.seen == 120
    assert {path.suffix for path in (own_cache / caching.ROOM).iterdir()} == {".safetensors"}


@pytest.mark.parametrize("damage", ["short", "foreign", "open to all"])
def test_an_entry_that_is_damaged_or_somebody_elses_is_measured_anew(
    network: StandIn, tmp_path: Path, own_cache: Path, damage: str
) -> None:
    one, two = (save_npz(tmp_path / f"{i}.npz", arr_0=random_images(30, seed=i)) for i in range(2))
    expected = compared(one, two).evaluation
    for entry in (own_cache / caching.ROOM).iterdir():
        if damage == "short":
            entry.write_bytes(entry.read_bytes()[:-100])
        elif damage == "foreign":
            os.link(entry, tmp_path / f"link-{entry.name}")
        else:
            entry.chmod(0o666)
    assert compared(one, two).evaluation == expected
    assert network.seen == 120


def test_the_cache_has_a_bound_and_forgets_what_was_longest_not_used(
    network: StandIn, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [save_npz(tmp_path / f"{i}.npz", arr_0=random_images(30, seed=i)) for i in range(4)]
    compared(files[0], files[1])
    room = own_cache / caching.ROOM
    for entry in room.iterdir():
        os.utime(entry, ns=(0, 0))
    compared(files[0], files[0])  # used now, and the other one is not
    size = next(room.iterdir()).stat().st_size
    monkeypatch.setattr(caching, "MOST_BYTES", 2 * size + size // 2)
    compared(files[0], files[2])
    assert sum(path.stat().st_size for path in room.iterdir()) <= 2.5 * size
    before = network.seen
    compared(files[0], files[2])
    assert network.seen == before
    compared(files[0], files[1])
    assert network.seen == before + 30


def test_a_cache_that_cannot_be_written_costs_time_alone(
    network: StandIn, tmp_path: Path, own_cache: Path
) -> None:
    own_cache.mkdir()
    (own_cache / caching.ROOM).write_text("in the way")
    path = save_npz(tmp_path / "a.npz", arr_0=random_images(30))
    assert compared(path, path).evaluation.fid == pytest.approx(0.0, abs=1e-6)


def test_flags_of_a_model_where_there_is_none_are_warned_of(tmp_path: Path) -> None:
    path = str(save_npz(tmp_path / "a.npz", features=np.random.default_rng().normal(size=(20, 3))))
    asked = evaluate(path, path, Wanted(sampling=Sampling(images=100))).evaluation.warnings
    assert any("neither side is a model: flags" in warning for warning in asked)
    usual = evaluate(path, path, Wanted()).evaluation.warnings
    assert not any("neither side is a model" in warning for warning in usual)
