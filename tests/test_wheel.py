"""What an installation adds to Python: one name, with everything that the service and its demo models need."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.wheel import ROOT, build_wheel


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    site = folder / "site"
    with zipfile.ZipFile(build_wheel(folder)) as wheel:
        wheel.extractall(site)
    return site


def run(site: Path, *arguments: str) -> str:
    """The output of a fresh interpreter that finds the wheel's files before all others."""
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=site, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True,
        text=True, check=False, timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_wheel_has_one_top_level_name(site: Path) -> None:
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"dit_serve"}
    assert not list(site.rglob("test_*.py"))


def test_no_link_is_left_in_the_wheel(site: Path) -> None:
    assert not [path for path in site.rglob("*") if path.is_symlink()]


def test_the_wheel_imports_itself_and_cheaply(site: Path) -> None:
    told = run(site, "-c", "import dit_serve, sys; print(dit_serve.__file__, 'torch' in sys.modules)")
    assert told.split() == [str(site / "dit_serve" / "__init__.py"), "False"]


def test_the_wheel_brings_the_page(site: Path) -> None:
    packed = site / "dit_serve" / "service" / "http" / "web"
    assert {file.name: file.read_bytes() for file in packed.iterdir()} == {
        file.name: file.read_bytes() for file in (ROOT / "service" / "http" / "web").iterdir()
    }


def test_the_wheel_brings_the_demo_models_and_names(site: Path) -> None:
    assert "digits-64" in run(site, "-m", "dit_serve", "info", "digits-64")
    code = "from dit_serve.models.labels import imagenet_names; print(imagenet_names()[207][0])"
    assert run(site, "-c", code) == "golden retriever\n"


def test_a_name_that_is_none_is_refused() -> None:
    import dit_serve

    with pytest.raises(AttributeError, match="has no attribute 'load_pipelin'"):
        _ = dit_serve.load_pipelin
