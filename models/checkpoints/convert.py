"""Makes safetensors of what torch.save wrote, once, in a child process; this process never opens a pickle.

Converted files lie in the cache (cache.py) under the SHA-256 of their source, so a file is converted once whatever
its path. A file appears there whole or not at all, and with it, last, its manifest (manifest.py); of several processes
that want it, one converts and the others wait.

Knows no tensor: unpickle.py, the child, does the work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import dit_serve
from dit_serve.models.checkpoints.cache import cache_folder, files_sha256
from dit_serve.models.checkpoints.files import reason, weights_kind
from dit_serve.models.checkpoints.manifest import check_manifest, manifest_path, write_manifest
from dit_serve.models.errors import CheckpointError

CONVERTED = "model.safetensors"


def ensure_safetensors(
    path: Path, *, weights: str | None = None, part: Literal["dit", "vae", "whole"] = "dit"
) -> Path:
    """Return the file itself if it is safetensors, else its conversion in the cache, made now if need be.

    Raises:
        CheckpointError: the file is no weights file, cannot be converted, or is not what its manifest says; the cache
            cannot be written.
    """
    if weights_kind(path) == "safetensors":
        check_manifest(path)
        return path
    sha256 = files_sha256([path])
    folder = cache_folder() / "converted" / sha256
    target = folder / CONVERTED
    if manifest_path(target).exists():
        check_manifest(target)
        return target
    with _only_one(folder) as lock:
        if not manifest_path(target).exists():
            for left in folder.glob("*.partial"):  # of a conversion that was killed: nobody else can be at work here
                left.unlink(missing_ok=True)
            _run_child(path, target, lock)
            if files_sha256([path]) != sha256:
                target.unlink(missing_ok=True)
                raise CheckpointError(
                    f"{path}: was changed while it was read: wait until it is written, then try again"
                )
            write_manifest(target, path, sha256)
    return target


def convert(source: Path, target: Path) -> None:
    """Write the model's weights in a .pt or .bin file as a new safetensors file, with its manifest beside it.

    Raises:
        CheckpointError: the source is safetensors already or cannot be converted; the target exists or cannot be
            written.
    """
    if weights_kind(source) == "safetensors":
        raise CheckpointError(f"{source}: is safetensors already: use it as it is")
    if target.exists():
        raise CheckpointError(f"{target}: exists already: choose another name, or remove it")
    _run_child(source, target, None)
    write_manifest(target, source, files_sha256([source]))


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[int]:
    """Hold the folder against all other processes; yields the lock's descriptor, for a child to hold it too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the cache cannot be written ({reason(error)}): set DIT_CACHE to a folder that can"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _run_child(source: Path, target: Path, lock: int | None) -> None:
    """Have unpickle.py write `target`, by way of a partial file beside it that is removed whatever happens."""
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    here = str(Path(dit_serve.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    # -P: the folder in which somebody starts the server is no place to import torch from
    command = [sys.executable, "-P", "-m", "dit_serve.models.checkpoints.unpickle"]
    command += [str(source.absolute()), str(partial.absolute())]
    try:
        child = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=() if lock is None else (lock,),  # the lock outlives this process as long as the child does
        )
        _check_outcome(source, child)
        os.replace(partial, target)
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({reason(error)}): make room or choose another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _check_outcome(source: Path, child: subprocess.CompletedProcess[str]) -> None:
    if child.returncode == 0:
        return
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        hint = ", which mostly means too little memory" if name == "SIGKILL" else ""
        raise CheckpointError(f"{source}: the conversion was ended by {name}{hint}: convert it on a larger machine")
    try:
        words = json.loads(child.stdout.splitlines()[-1])["error"]
    except (LookupError, ValueError, TypeError):
        words = f"the conversion failed: {child.stderr.strip()[-400:] or 'no message'}"
    raise CheckpointError(f"{source}: {words}")
