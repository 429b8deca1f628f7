"""Makes safetensors of what torch.save wrote, once, in a child process; this process never opens a pickle.

Converted files lie in the cache (cache.py) under the SHA-256 of their source, so a file is converted once whatever
its path, and once for each of the models in it that was asked for. A file appears there whole or not at all, and with
it, last, its manifest (manifest.py); of several processes that want it, one converts and the others wait. A conversion
that turns out to be no model is removed again (`Conversions`).

Knows no tensor: unpickle.py, the child, does the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from filelock import FileLock

from dit_serve.children import interpreter_environment
from dit_serve.models.checkpoints.cache import cache_room, files_sha256
from dit_serve.models.checkpoints.files import reason, weights_kind
from dit_serve.models.checkpoints.manifest import check_manifest, manifest_path, write_manifest
from dit_serve.models.checkpoints.trust import FILE_MODE, make_folder, refuse_foreign, written_whole
from dit_serve.models.checkpoints.wrappers import read_facts
from dit_serve.models.errors import CheckpointError, printable

CONVERTED = "converted"  # the cache's folder; a model.safetensors in it is of before files said what is in them
Part = Literal["dit", "vae", "whole"]
_LOCK = ".lock"


class Conversions:
    """The conversions for one opening of a checkpoint: if it is refused, those that were made for it do not stay."""

    def __init__(self) -> None:
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, CheckpointError):
            for target in self._made:
                _remove(target)

    def ensure(self, path: Path, *, weights: str | None = None, part: Part = "dit") -> Path:
        """Return the file itself if it is safetensors, else its conversion in the cache, made now if need be.

        Args:
            weights: "model" or "ema", the one of a trainer's file that is wanted; None takes the EMA where there are
                both.
            part: what is looked for: a DiT, an autoencoder, or a whole state dict as it is.

        Raises:
            CheckpointError: the file is no weights file, cannot be converted, or is not what its manifest says; the
                cache cannot be written, or somebody else can write it.
        """
        if weights_kind(path) == "safetensors":
            check_manifest(path)
            return path
        sha256 = files_sha256([path])
        folder = cache_room(CONVERTED) / sha256
        refuse_foreign(folder)
        target = _converted(folder, weights, part)
        if target is None:
            target = _convert_into(folder, path, sha256, weights, part)
            self._made.append(target)
        check_manifest(target)
        return target


def ensure_safetensors(path: Path, *, weights: str | None = None, part: Part = "dit") -> Path:
    """Return a file as safetensors, as `Conversions.ensure` does; it stays.

    Raises:
        CheckpointError: see there.
    """
    return Conversions().ensure(path, weights=weights, part=part)


def convert(source: Path, target: Path, *, weights: str | None = None) -> None:
    """Write the model's weights in a .pt or .bin file as a new safetensors file, with its manifest beside it.

    Args:
        weights: as `ensure_safetensors` takes it.

    Raises:
        CheckpointError: the source is safetensors already or cannot be converted; the target exists or cannot be
            written.
    """
    if weights_kind(source) == "safetensors":
        raise CheckpointError(f"{source}: is safetensors already: use it as it is")
    if os.path.lexists(target):
        raise CheckpointError(f"{target}: exists already: choose another name, or remove it")
    sha256 = files_sha256([source])
    _run_child(source, target, weights, "dit", sha256)
    try:
        _refuse_change(source, sha256)
        write_manifest(target, source, sha256)
    except CheckpointError:
        with contextlib.suppress(OSError):
            target.unlink()
        raise


def _converted(folder: Path, weights: str | None, part: Part) -> Path | None:
    """The conversion that there is already, if it holds what is wanted; the default takes an EMA if there is any."""
    for name in (_name(weights, part), _name("ema", part) if weights is None else _name(None, part)):
        target = folder / name
        for path in (target, manifest_path(target)):
            refuse_foreign(path)
        is_asked = name == _name(weights, part) or part != "dit"
        if manifest_path(target).exists() and (is_asked or _settles(target, weights)):
            return target
    return None


def _settles(target: Path, weights: str | None) -> bool:
    """Whether a file that was converted for another wish is what this one would give."""
    try:
        which = read_facts(target).which
    except CheckpointError:  # damaged since: whoever asks for that file itself is told
        return False
    return which == (weights or "ema") or (weights == "model" and which == "")


def _name(weights: str | None, part: Part) -> str:
    return f"{part}-{weights}.safetensors" if weights and part == "dit" else f"{part}.safetensors"


def _convert_into(folder: Path, path: Path, sha256: str, weights: str | None, part: Part) -> Path:
    """Convert in a folder of the cache; of a file that is refused nothing stays there."""
    target = folder / _name(weights, part)
    with _only_one(folder):
        if manifest_path(target).exists():
            return target
        for left in folder.glob(f"{target.name}.*.partial"):  # of a conversion that was killed
            left.unlink(missing_ok=True)
        try:
            _run_child(path, target, weights, part, sha256)
            _refuse_change(path, sha256)
            write_manifest(target, path, sha256)
        except CheckpointError:
            with contextlib.suppress(OSError):
                target.unlink()
            _forget(folder)
            raise
    return target


def _remove(target: Path) -> None:
    """Take a conversion out of the cache; who has it open keeps it."""
    with contextlib.suppress(CheckpointError, OSError), _only_one(target.parent):
        for path in (manifest_path(target), target):
            path.unlink(missing_ok=True)
        _forget(target.parent)


def _forget(folder: Path) -> None:
    """Remove a folder in which there is no conversion; whoever waits for its lock sees that the lock is gone."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()


def _refuse_change(source: Path, sha256: str) -> None:
    if files_sha256([source]) != sha256:
        raise CheckpointError(f"{source}: was changed while it was read: wait until it is written, then try again")


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder against all other processes."""
    lock = FileLock(folder / _LOCK, mode=FILE_MODE)
    try:
        make_folder(folder)
        refuse_foreign(folder / _LOCK)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise CheckpointError(
            f"{folder}: the cache cannot be written ({reason(error)}): set DIT_CACHE to a folder that can"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _run_child(source: Path, target: Path, weights: str | None, part: Part, sha256: str) -> None:
    """Have unpickle.py write `target`, by way of a partial file beside it that is removed whatever happens."""
    try:
        with written_whole(target) as partial:
            # -P: the folder in which somebody starts the server is no place to import torch from
            command = [sys.executable, "-P", "-m", "dit_serve.models.checkpoints.pickles.unpickle"]
            command += [str(source.absolute()), str(partial.absolute()), weights or "any", part, sha256]
            child = subprocess.run(
                command,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                stdin=subprocess.DEVNULL,
                env=interpreter_environment(os.environ),  # nothing of a server's keys and tokens
            )
            _check_outcome(source, child)
    except OSError as error:
        raise CheckpointError(
            f"{target}: cannot be written ({reason(error)}): make room or choose another folder"
        ) from error


def _check_outcome(source: Path, child: subprocess.CompletedProcess[str]) -> None:
    if child.returncode == 0:
        return
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        advice = "as damaged files do it: save the state dict alone, or copy the file anew"
        if name == "SIGKILL":
            advice = "which mostly means too little memory: convert it on a larger machine"
        if name == "SIGXCPU":
            raise CheckpointError(
                f"{source}: takes longer to read than a file of its size may: save the state dict alone, or do not use "
                "this file"
            )
        raise CheckpointError(f"{source}: the conversion was ended by {name}, {advice}")
    try:
        words = json.loads(child.stdout.splitlines()[-1])["error"]
    except (LookupError, ValueError, TypeError):
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        words = f"the conversion failed ({printable(last, 120)}): see `dit doctor`, or convert it on another machine"
    raise CheckpointError(f"{source}: {words}")
