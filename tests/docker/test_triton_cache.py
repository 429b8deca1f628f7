"""docker/triton_cache.py, with folders in the places of the volume and of what came with the image."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("triton", reason="Triton is for Linux on x86_64 alone")

KEY, NAME = "KEY", "cuda_utils.so"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, which is in no package; its files in the image are in image/, those of the volume in volume/."""
    path = Path(__file__).parents[2] / "docker" / "triton_cache.py"
    spec = importlib.util.spec_from_file_location("triton_cache", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SEED", tmp_path / "image")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "volume"))
    return module


def seed(folder: Path) -> Path:
    """The file as the image brings it."""
    file = folder / "image" / KEY / NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(b"of the image")
    return file


def test_a_file_that_only_the_image_has_is_found_there(cache: ModuleType, tmp_path: Path) -> None:
    brought = seed(tmp_path)
    assert cache.SeededCache(KEY).get_file(NAME) == str(brought)


def test_a_file_of_the_volume_comes_first(cache: ModuleType, tmp_path: Path) -> None:
    seed(tmp_path)
    stored = cache.SeededCache(KEY).put(b"of the volume", NAME)
    assert cache.SeededCache(KEY).get_file(NAME) == stored == str(tmp_path / "volume" / KEY / NAME)


def test_a_file_of_another_key_or_name_is_not_found(cache: ModuleType, tmp_path: Path) -> None:
    seed(tmp_path)
    assert cache.SeededCache("OTHER").get_file(NAME) is None
    assert cache.SeededCache(KEY).get_file("other.so") is None
