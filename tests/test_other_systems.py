"""What needs no server runs where Unix's own modules and calls are absent, and Triton too, as on Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABSENT_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "syslog", "pty", "tty", "posix", "readline", "triton")
ABSENT_CALLS = (
    "fork", "forkpty", "register_at_fork", "geteuid", "getuid", "getegid", "getgid", "getgroups", "setsid", "getpgid",
    "killpg", "sched_getaffinity", "sched_setaffinity", "sysconf", "mkfifo", "mknod", "chown", "lchown", "fchown",
    "posix_fadvise", "posix_fallocate", "pread", "preadv", "pwrite", "sendfile", "statvfs", "nice", "getloadavg",
    "O_NOFOLLOW", "O_CLOEXEC", "O_DIRECTORY", "O_NONBLOCK", "O_DIRECT", "O_TMPFILE", "O_PATH", "O_NOCTTY", "WNOHANG",
)
# Packages of others have ways of their own for each system, chosen by its name: they are imported as this one's.
BEFORE = f"""
import sys, os, signal, importlib.util
import torch, diffusers, safetensors.torch, huggingface_hub, numpy, rich.progress, pydantic, PIL.Image, subprocess
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
for name in [each for each in sys.modules if each.partition(".")[0] in {ABSENT_MODULES!r}]:
    del sys.modules[name]
for name in {ABSENT_MODULES!r}:
    sys.modules[name] = None
for name in {ABSENT_CALLS!r}:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGCHLD", "SIGALRM", "SIGQUIT", "SIGPIPE", "setitimer", "alarm"):
    if hasattr(signal, name):
        delattr(signal, name)
"""
AFTER = """
from dit_serve import load_pipeline
print(load_pipeline("digits-64", device="cpu").generate([7], seeds=[0], steps=1)[0].shape)
from dit_serve.service.cli import main
print("info", main(["info", "digits-64"]))
print("generate", main(["generate", "--class-id", "7", "--steps", "1", "--seed", "0"]))
import dit_serve.service.commands.serve
sys.platform = "win32"
print("serve", main(["serve", "--models", "digits-64"]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def ended(folder: Path) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that has none of it, in this folder; one for all, for it takes seconds to start."""
    path = {"PYTHONPATH": str(ROOT), "DIT_CACHE": str(folder / "cache"), "HOME": str(folder), "PATH": ""}
    command = [sys.executable, "-c", BEFORE + AFTER]
    return subprocess.run(command, cwd=folder, env=path, capture_output=True, text=True, check=False, timeout=120)


def test_python_makes_an_image_without_unix(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.stdout.startswith("(64, 64, 3)\n"), ended.stderr


@pytest.mark.parametrize("command", ["info", "generate"])
def test_a_command_that_serves_nobody_runs_without_unix(
    ended: subprocess.CompletedProcess[str], folder: Path, command: str
) -> None:
    assert f"{command} 0\n" in ended.stdout, ended.stderr
    assert [path.name for path in folder.glob("*.png")] == ["class-7-seven-seed-0.png"]


def test_a_server_says_where_it_runs(ended: subprocess.CompletedProcess[str]) -> None:
    said = "dit serve: runs on Linux and macOS: on Windows use WSL or the container; dit generate works here\n"
    assert ended.stdout.endswith("serve 2\n")
    assert ended.stderr.endswith(said)
