"""dit convert."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dit_serve.service.cli import main
from tests.models.checkpoints.written import TINY, original_state

STATE = original_state(TINY)


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIT_CACHE", str(tmp_path / "cache"))
    torch.save({"module." + name: tensor for name, tensor in STATE.items()}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_the_result_goes_where_it_is_asked_to(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pickled.with_name("model.safetensors")
    assert main(["convert", str(pickled), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    found = load_file(out)
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in STATE.items())


def test_the_result_goes_to_the_cache_by_default(pickled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(pickled)]) == 0
    out = Path(capsys.readouterr().out.strip())
    assert out.is_relative_to(pickled.with_name("cache"))
    assert load_file(out).keys() == STATE.keys()
