"""dit info."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from dit_serve import load_pipeline
from dit_serve.models.architecture import Conditioned
from dit_serve.models.registry import multiply_adds, parameter_count
from dit_serve.service.cli import main
from tests.models.checkpoints.written import TINY, original_state
from tests.models.conditioned import OTHERS, save_conditioned


def test_info_tells_what_is_in_a_checkpoint(random_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(random_folder)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    model = load_pipeline(random_folder).model
    assert lines["name"] == "random-64"
    assert lines["variant"] == "none of the published sizes"
    assert lines["latents"] == "4 x 8 x 8, patch 2"
    assert (lines["conditioning"], lines["layout"]) == ("adaln-zero", "diffusers")
    assert lines["network"] == "2 blocks, width 48, 4 heads"
    assert lines["classes"] == "10, 10 of them named"
    assert lines["sha256"] == load_pipeline(random_folder).info.sha256
    counted = sum(tensor.numel() for tensor in model.state_dict().values())
    assert lines["parameters"] == f"{counted:,}"


@pytest.mark.parametrize("conditioning", OTHERS)
def test_info_tells_which_blocks_and_what_they_cost(
    conditioning: Conditioned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = save_conditioned(tmp_path / "mine", conditioning).config
    assert main(["info", str(tmp_path / "mine")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    assert (lines["conditioning"], lines["layout"]) == (conditioning, "dit-serve")
    assert lines["parameters"] == f"{parameter_count(config):,}"
    cost = multiply_adds(config)
    paper = f"{cost / 1e9:.4g} Gflops as the paper counts"
    assert lines["multiply-adds"] == f"{cost:,} per forward pass of one sequence ({paper})"


def test_info_takes_what_serve_takes(random_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", f"mine={random_folder}"]) == 0
    assert "random-64" in capsys.readouterr().out


def test_info_tells_what_is_assumed_and_what_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(original_state(TINY), tmp_path / "x.safetensors")
    (tmp_path / "x.json").write_text('{"num_heads": 4}')
    assert main(["info", str(tmp_path / "x.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "row 10 of the label table (assumed: nothing says how many classes there are)" in said
    assert "predicts epsilon (assumed: nothing says it)" in said
    (tmp_path / "x.json").write_text('{"num_heads": 4, "num_classes": 11, "objective": "epsilon", "vae": "owner/vae"}')
    assert main(["info", str(tmp_path / "x.safetensors")]) == 0
    said = capsys.readouterr().out
    assert "none: cfg 1 alone" in said
    assert "without guidance, cfg is 1: its label table has no null class" in said
    assert "owner/vae" in said
    assert "assumed" not in said


def test_no_name_moves_a_terminal_or_ends_a_line(
    random_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = shutil.copytree(random_folder, tmp_path / "a\x1b[2J\nsha256 b")
    assert main(["info", str(odd)]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "name              a\\x1b[2J\\nsha256 b\n" in output
