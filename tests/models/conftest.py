"""What the tests of models/ share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for each test alone: no test sees what another, or the person running them, has converted."""
    folder = tmp_path / "dit-cache"
    monkeypatch.setenv("DIT_CACHE", str(folder))
    return folder
