"""dit convert."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dit_serve.service.cli import main


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    torch.save({"weight": torch.arange(6.0).reshape(2, 3)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_the_result_goes_where_it_is_asked_to(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pickled.with_name("model.safetensors")
    assert main(["convert", str(pickled), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert torch.equal(load_file(out)["weight"], torch.arange(6.0).reshape(2, 3))


def test_the_result_goes_to_the_cache_by_default(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(pickled)]) == 0
    out = Path(capsys.readouterr().out.strip())
    assert out.is_relative_to(pickled.with_name("cache"))
    assert list(load_file(out)) == ["weight"]
