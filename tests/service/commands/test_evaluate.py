"""dit evaluate: the table, the object, what is said on standard error, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dit_serve.models.errors import printable
from dit_serve.service.cli import main
from dit_serve.service.commands.evaluate import FIGURES
from tests.models.evaluation.standin import put_in_place_of_fashion, random_images, save_npz, save_pictures


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def features(tmp_path: Path) -> tuple[str, str]:
    """Two files of features with all that a network would give."""
    paths = []
    for name in ("a", "b"):
        random = np.random.default_rng(ord(name))
        probabilities = random.dirichlet(np.ones(4), size=40)
        paths.append(
            save_npz(
                tmp_path / f"{name}.npz", features=random.normal(size=(40, 6)), spatial=random.normal(size=(40, 5)),
                probabilities=probabilities,
            )
        )
    return str(paths[0]), str(paths[1])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["evaluate", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return said.err


def test_json_is_one_object_of_figures_counts_and_network(
    features: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *features, "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert list(found)[: len(FIGURES)] == list(FIGURES)
    assert all(isinstance(found[figure], float) for figure in FIGURES)
    assert (found["samples"], found["reference_samples"], found["network"]) == (40, 40, None)
    assert found["warnings"]
    assert [f"dit evaluate: warning: {printable(each)}" for each in found["warnings"]] == said.err.splitlines()


def test_table_has_a_line_a_figure(features: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *features]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.rsplit(maxsplit=1) for line in lines[1 : 1 + len(FIGURES)]]
    assert [better for _, better in rows] == [better for _, _, better in FIGURES.values()]
    assert all(row.startswith(name) for (row, _), (name, _, _) in zip(rows, FIGURES.values(), strict=True))
    assert lines[-1] == "40 images against 40 images; features as they were given"


def test_what_is_absent_is_null_a_dash_and_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = str(save_npz(tmp_path / "a.npz", features=np.random.default_rng(0).normal(size=(40, 3))))
    reference = str(save_npz(tmp_path / "b.npz", mu=np.zeros(3), sigma=np.eye(3)))
    assert main(["evaluate", samples, reference, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [figure for figure in FIGURES if found[figure] is None] == [each for each in FIGURES if each != "fid"]
    assert found["reference_samples"] is None
    assert "b.npz has no images" in found["reasons"]["recall"]
    assert main(["evaluate", samples, reference]) == 0
    out = capsys.readouterr().out
    assert out.count(" - ") == 5
    assert f"KID is absent: {reference} has no images" in out
    assert "40 images against statistics" in out


def test_images_go_through_the_network_that_is_asked_for(
    tmp_path: Path, random_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = put_in_place_of_fashion(monkeypatch)
    reference = str(save_pictures(tmp_path / "real", random_images(30, side=64)))
    flags = ["--features", "fashion", "--json", "--images", "20", "--steps", "2", "--sampler", "ddim", "--cfg", "1.25"]
    assert main(["evaluate", str(random_folder), reference, *flags, "--batch-size", "7"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["samples"], first["reference_samples"]) == (20, 30)
    assert (first["network"], first["network_sha256"]) == (network.name, network.sha256)
    assert network.seen == 50
    assert main(["evaluate", str(random_folder), reference, *flags]) == 0
    assert (json.loads(capsys.readouterr().out), network.seen) == (first, 50)
    assert main(["evaluate", str(random_folder), reference, *flags, "--no-cache"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["fid"] == pytest.approx(first["fid"], rel=1e-5)
    assert network.seen == 100


def test_lines_tell_the_progress_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_place_of_fashion(monkeypatch)
    folder = str(save_pictures(tmp_path / "real", random_images(40)))
    assert main(["evaluate", folder, folder, "--features", "fashion", "--batch-size", "10", "--no-cache"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith("of 40 images")]
    assert lines == [f"{folder}: {n} of 40 images" for n in (10, 20, 30, 40)] * 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--images", "1"], "images must be 2 at least"),
        (["--seed=-1"], "seed must be 0 to"),
        (["--batch-size", "0"], "--batch-size must be 1 to 4096"),
        (["--resolution", "9999"], "--resolution must be 1 to 4096"),
        (["--device", "abacus"], "device 'abacus' is none of"),
    ],
)
def test_flags_out_of_bounds_are_refused(
    flags: list[str], words: str, features: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capsys, *features, *flags)


def test_files_are_refused_with_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = str(save_npz(tmp_path / "a.npz", arr_0=random_images(4)))
    for name, arrays, words in (
        ("unknown", {"samples": random_images(4)}, "holds samples, and known are arr_0"),
        ("floats", {"arr_0": random_images(4) / 255.0}, "images are uint8"),
    ):
        path = save_npz(tmp_path / f"{name}.npz", **arrays)
        assert refused(capsys, whole, str(path)).startswith(f"dit evaluate: {path}: ")
        assert words in refused(capsys, str(path), whole)
    (tmp_path / "cut.npz").write_bytes(Path(whole).read_bytes()[:300])
    assert "cut.npz: cannot be read as an .npz" in refused(capsys, whole, str(tmp_path / "cut.npz"))
    assert "nowhere.npz: no such file" in refused(capsys, whole, str(tmp_path / "nowhere.npz"))
