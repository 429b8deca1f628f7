"""Hugging Face's `kernels` and diffusers are the same before, beside and after an installation of ours."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wheel import ROOT, build_wheel

pytestmark = pytest.mark.system
THEIRS = ("kernels", "diffusers")


def hashes(site: Path) -> dict[str, str]:
    """SHA-256 of every file that their RECORDs list, by path."""
    listed = [row[0] for name in THEIRS for record in site.glob(f"{name}-*.dist-info/RECORD")
              for row in csv.reader(record.read_text().splitlines())]
    assert len(listed) > 100
    kept = [name for name in listed if "__pycache__" not in name and "/bin/" not in name]
    return {name: hashlib.sha256((site / name).read_bytes()).hexdigest() for name in kept}


def test_others_packages_are_as_they_were_before_between_and_after(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"

    def pip(*arguments: str) -> None:
        subprocess.run([str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)

    pip("install", "--no-deps", "--constraint", str(ROOT / "constraints.txt"), *THEIRS)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    before = hashes(site)
    pip("install", "--no-deps", str(build_wheel(tmp_path)))
    assert hashes(site) == before
    pip("uninstall", "--yes", "dit-serve")
    assert hashes(site) == before
    assert not (site / "dit_serve").exists()
