"""What the tests of models/ share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.checkpoints.folders import random_transformer, save_folder, share_embedders


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test alone: no test sees what another, or the person running them, has converted."""
    folder = tmp_path / "dit-cache"
    monkeypatch.setenv("DIT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of random weights, all embedders alike, as diffusers writes it."""
    transformer = random_transformer(classes=10)
    share_embedders(transformer)
    return save_folder(tmp_path_factory.mktemp("models") / "random", transformer)
