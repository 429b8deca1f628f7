"""The weights files of a component's folder as diffusers names them, and which of several are taken.

    diffusion_pytorch_model.safetensors                        whole, or as .bin
    diffusion_pytorch_model-00001-of-00002.safetensors         in shards, whose index ends in .safetensors.index.json
    diffusion_pytorch_model.fp16.safetensors                   a variant, whole
    diffusion_pytorch_model.fp16-00001-of-00002.safetensors    a variant in shards, ….safetensors.index.fp16.json

Plain weights come before variants, safetensors before .bin, and an index before a whole file, as in diffusers, whose
older ways to name a variant's shards and index are read too. Where there are only variants, the first of VARIANTS is
taken. Knows no tensors and no hub; hub.py asks for the same files in the same order.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

from dit_serve.models.checkpoints.tensor_files import shard_paths
from dit_serve.models.errors import CheckpointError, listed

WEIGHTS = "diffusion_pytorch_model"
ENDINGS = ("safetensors", "bin")
WEIGHTS_ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")  # of files under any name
NO_WEIGHTS = ("optimizer", "scheduler", "random_states", "rng_state", "scaler", "sampler", "training_args")  # trainers'
VARIANTS = ("ema", "fp32", "bf16", "fp16")  # of one model, the averaged weights first, then the most exact
_NAME = re.compile(
    rf"{WEIGHTS}(?:\.(?P<variant>[\w.\-]+?))?(?:-\d{{5}}-of-\d{{5}}(?:\.(?P<older>[\w.\-]+))?)?\.(?:safetensors|bin)"
)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")


@dataclass(frozen=True, slots=True)
class Stored:
    """One way in which a component's weights may be stored: a variant ("" for plain weights) and a file type."""

    variant: str
    ending: str

    @property
    def whole(self) -> str:
        """The file's name, where it is one file."""
        return f"{self._stem}.{self.ending}"

    @property
    def indexes(self) -> tuple[str, ...]:
        """The names that an index of shards may have, the present one first."""
        if not self.variant:
            return (f"{WEIGHTS}.{self.ending}.index.json",)
        return (
            f"{WEIGHTS}.{self.ending}.index.{self.variant}.json",
            f"{WEIGHTS}.{self.ending}.{self.variant}.index.json",
            f"{self._stem}.{self.ending}.index.json",
        )

    @property
    def shards(self) -> tuple[str, ...]:
        """Patterns of the shards' names, the present one first."""
        older = (f"{WEIGHTS}-?????-of-?????.{self.variant}.{self.ending}",) if self.variant else ()
        return (f"{self._stem}-?????-of-?????.{self.ending}", *older)

    def paths(self, folder: Path) -> tuple[Path, ...]:
        """Return the files in the folder, () if there are none.

        Raises:
            CheckpointError: some of the shards are there and some are missing, which are named.
        """
        whole = folder / self.whole
        for index in filter(Path.is_file, (folder / name for name in self.indexes)):
            if not whole.is_file():
                return _of_index(index)
            if _missing(found := shard_paths(index)):
                _log("%s: left out, its files are not there; %s is taken", index, whole.name)
            else:
                _log("%s: its shards are taken, and %s beside it is left out", index, whole.name)
                return found
        return (whole,) if whole.is_file() else _without_index(folder, self.shards)

    @property
    def _stem(self) -> str:
        return f"{WEIGHTS}.{self.variant}" if self.variant else WEIGHTS


PREFERRED = tuple(Stored(variant, ending) for variant in ("", *VARIANTS) for ending in ENDINGS)


def find_weights(folder: Path) -> tuple[Path, ...]:
    """Return the weights files of a component's folder: one file, or all shards.

    Raises:
        CheckpointError: there are none, some are missing, or there are several and none is to be preferred.
    """
    for stored in PREFERRED:
        if found := stored.paths(folder):
            if stored.variant:
                names = listed(_variants(folder))
                _log("%s: of variants %s the weights of %s are taken", folder, names, stored.variant)
            return found
    others = _variants(folder)
    for ending in ENDINGS if len(others) == 1 else ():
        if found := Stored(others[0], ending).paths(folder):
            _log("%s: the weights of its only variant, %s, are taken", folder, others[0])
            return found
    if others:
        raise CheckpointError(
            f"{folder}: holds weights of several variants, {listed(others)}, and none without: remove all but one"
        )
    return _only_file(folder)


def _only_file(folder: Path) -> tuple[Path, ...]:
    """The one weights file, or the shards of the one index, in a folder that has none under diffusers' names."""
    files = [path for path in sorted(folder.glob("*")) if path.is_file() and not path.name.startswith(NO_WEIGHTS)]
    indexes = [path for path in files if path.name.endswith(".index.json")]
    present = [path for ending in WEIGHTS_ENDINGS for path in files if path.suffix == ending]
    safe = [path for path in present if path.suffix == ".safetensors"] or present
    if len(indexes) == 1:
        _log("%s: holds no %s.safetensors; the shards of %s are taken", folder, WEIGHTS, indexes[0].name)
        return _of_index(indexes[0])
    if len(safe) == 1 and not _SHARD.search(safe[0].name):
        _log("%s: holds no %s.safetensors; %s is taken", folder, WEIGHTS, safe[0].name)
        return (safe[0],)
    told = f" (there are {listed((path.name for path in present), 60)})" if present else ""
    raise CheckpointError(
        f"{folder}: holds no weights, neither {WEIGHTS}.safetensors nor {WEIGHTS}.bin, whole or in shards{told}: "
        "download them"
    )


def _of_index(index: Path) -> tuple[Path, ...]:
    found = shard_paths(index)
    if missing := _missing(found):
        raise CheckpointError(f"{index}: names files that are not there: {listed(missing)}: download them too")
    return found


def _missing(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths if not path.is_file()]


def _variants(folder: Path) -> list[str]:
    """The variants of which there is some file; only of folders without plain weights."""
    matches = [_NAME.fullmatch(path.name) for path in folder.glob(f"{WEIGHTS}*") if path.is_file()]
    return sorted({match["variant"] or match["older"] for match in matches if match})


def _without_index(folder: Path, patterns: tuple[str, ...]) -> tuple[Path, ...]:
    """All shards that match a pattern, by the numbers in their names; () if there are none."""
    for pattern in patterns:
        numbered: dict[int, dict[int, Path]] = {}
        for path in sorted(folder.glob(pattern)):
            if match := _SHARD.search(path.name):
                numbered.setdefault(int(match[2]), {})[int(match[1])] = path
        whole = [shards for total, shards in numbered.items() if sorted(shards) == list(range(1, total + 1))]
        if len(whole) == 1:
            return tuple(whole[0][number] for number in sorted(whole[0]))
        if len(whole) > 1:
            names = [shards[1].name for shards in whole]
            raise CheckpointError(f"{folder}: holds several sets of shards, {listed(names)}: remove all but one")
        for total, shards in sorted(numbered.items()):
            example = next(iter(shards.values())).name
            missing = [_SHARD.sub(f"-{n:05d}-of-{total:05d}.", example) for n in range(1, total + 1) if n not in shards]
            raise CheckpointError(f"{folder}: shards are missing: {listed(missing)}: download them too")
    return ()


def _log(message: str, *values: object) -> None:
    logging.getLogger("dit.models").info(message, *values)
