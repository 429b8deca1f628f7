"""The wheel that an installation gets, built offline by the setuptools that is here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_wheel(folder: Path) -> Path:
    """Builds it from a copy of what git has, so that no earlier build is found in it."""
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z", *PACKED], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["cp", "--parents", "-P", *listed.decode().split("\0")[:-1], str(source)], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], cwd=folder, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


PACKED = ("dit_serve", "service", "models", "kernels", "pyproject.toml", "README.md", "LICENSE")
