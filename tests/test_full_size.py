"""DiT-XL/2 at its full size, from both published layouts, through a real server: slow, and many gigabytes."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from dit_serve.models.dit import DiTConfig
from tests.models.checkpoints.folders import random_vae
from tests.models.checkpoints.written import write
from tests.service.running import running


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["training", "folder"])
def test_xl_2_loads_serves_and_gives_an_image(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.service.running.PATIENCE_SECONDS", 300.0)
    model = tmp_path / ("0400000.pt" if kind == "training" else "DiT-XL-2-256")
    write(kind, model, DiTConfig())
    flags = ["--models", str(model), "--dtype", "bfloat16", "--port", "0", "--metrics-port", "0"]
    if kind == "training":  # as the published train.py writes it: no autoencoder inside
        random_vae().save_pretrained(tmp_path / "vae")
        flags += ["--vae", str(tmp_path / "vae")]
    command = [sys.executable, "-m", "dit_serve", "serve", *flags]
    with running(command, DIT_CACHE=str(tmp_path / "cache")) as server, server.client() as client:
        answer = client.post("/generate", json={"class_id": 207, "cfg": 4, "steps": 2, "seed": 0})
        assert answer.status_code == 200, answer.text
        assert server.terminate() == 0
    shutil.rmtree(tmp_path)
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.size == (256, 256)
    assert len(picture.getcolors(1 << 16) or []) > 100
