"""Loads a damaged checkpoint and judges what comes of it: sound, refused in one good sentence, or a fault.

Sound means that what is stored is what was loaded: the same tensors and sizes as before the damage, or those that an
independent reader finds in the damaged files (safetensors by hand, pickles by torch's own loader).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.hub import fetch_vae
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.errors import CheckpointError
from dit_serve.models.vae import load_vae
from tests.models.checkpoints.fuzz.forked import Forks
from tests.models.checkpoints.fuzz.seeds import Seed

CPU = torch.device("cpu")
FORMATS = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
}
MOST_WORDS = 300
UNTOLD = ("weights_only", "Traceback", "(?:", "[A-Za-z", ".*", "object at 0x")
CALLED = {
    "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "collections.OrderedDict",
    "argparse.Namespace", "torch.serialization._get_layout",
}
OF_CONFIGS = {"mlp_norm_eps", "num_heads", "input_size", "num_classes"}  # what no tensor of a folder need show
Tensors = dict[str, str]  # by name, what a tensor is: format, shape, bytes


@dataclass(slots=True)
class Loaded:
    """What was loaded: sizes, the network's tensors, and those of the files that it was read from."""

    config: dict[str, Any] = field(default_factory=dict)
    state: Tensors = field(default_factory=dict)
    stored: Tensors = field(default_factory=dict)


def load(seed: Seed, folder: Path) -> Loaded:
    """Load a checkpoint as a server does.

    Raises:
        CheckpointError: it is refused.
    """
    loaded, entry = Loaded(), folder / seed.entry
    vae: Path | None = entry
    if seed.kind == "dit":
        opened = open_checkpoint(entry)
        state = load_dit(opened, device=CPU, dtype=torch.float32).state_dict()
        loaded.config, vae = asdict(opened.config), opened.vae
        loaded.state = {name: _digest(tensor) for name, tensor in state.items()}
        for path in opened.weights:
            loaded.stored |= stored_tensors(path)
    if vae is not None:
        if seed.kind == "vae":
            vae = fetch_vae(vae)
        module = load_vae(vae, device=CPU, dtype=torch.float32).module
        loaded.state |= {f"vae.{name}": _digest(tensor) for name, tensor in module.state_dict().items()}
    return loaded


def refusal_fault(error: BaseException, folder: Path) -> str:
    """What is wrong with a refusal, "" for nothing; the same for all that come of one place and begin alike."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [each for each in frames if "/models/" in each.filename and "/tests/" not in each.filename]
    where = (ours or frames)[-1]
    words, place = str(error), f"{Path(where.filename).name}:{where.lineno}"
    if not isinstance(error, CheckpointError):
        return f"{type(error).__name__} in {place}: {_general(words)[:80]}"
    wrong = [f"tells of {each!r}" for each in UNTOLD if each in words]
    wrong += ["is too long"] if len(words) > MOST_WORDS else []
    wrong += ["has characters that cannot be printed"] if not words.isprintable() else []
    wrong += ["names no file"] if str(folder) not in words else []
    return f"a refusal in {place} {' and '.join(wrong)}: {_general(words)[:32]}" if wrong else ""


def load_fault(loaded: Loaded, truth: Loaded | None, folder: Path, forks: Forks) -> str:
    """What is wrong with what was loaded, "" for nothing.

    Args:
        loaded: from the damaged files.
        truth: from the sound ones, None where these are refused.
        folder: of the damaged files.
        forks: for torch's own loader.
    """
    if truth is not None and (loaded.stored, loaded.state) == (truth.stored, truth.state):
        other = {name for name in loaded.config if loaded.config[name] != truth.config[name]} - OF_CONFIGS
        return f"loads with other sizes: {', '.join(sorted(other))}" if other else ""
    there = tensors_beneath(folder, forks)
    lost = [name for name, what in loaded.stored.items() if not _is_there(name, what, there)]
    values_there = {_values_of(what) for _, what in there}
    of_vae = {name: what for name, what in loaded.state.items() if name.startswith("vae.")}
    lost += [name for name, what in of_vae.items() if _values_of(what) not in values_there]
    if truth is not None:  # what no independent reader can read may still be what it was
        lost = [name for name in lost if (truth.stored | truth.state).get(name) != (loaded.stored | loaded.state)[name]]
    return f"loads tensors that its files do not hold: {_general(lost[0])}" if lost else ""


def _is_there(name: str, what: str, there: list[tuple[str, str]]) -> bool:
    """Whether files hold this tensor under this name, or under a longer one that ends so."""
    return any(what == found and (stored == name or stored.endswith(f".{name}")) for stored, found in there)


def _values_of(what: str) -> str:
    """A tensor's numbers, whatever its format and shape."""
    return what.rpartition(" ")[2]


def tensors_beneath(folder: Path, forks: Forks) -> list[tuple[str, str]]:
    """All tensors in the files of a folder: (name, what it is); none in what cannot be read."""
    found: list[tuple[str, str]] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:9] == b"{":
            with suppress(ValueError, TypeError, LookupError, AttributeError):
                found += stored_tensors(path).items()
        elif head[:2] == b"PK" or head[:1] == b"\x80":
            _, printed, _ = forks.run(lambda path=path: _print_pickled(path))  # type: ignore[misc]
            found += [(name, what) for name, what in json.loads(printed or "[]")]
    return found


def stored_tensors(path: Path) -> Tensors:
    """Each tensor of a safetensors file, read without the library that is under test."""
    raw = path.read_bytes()
    data = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:data])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        flat = torch.tensor(list(raw[data + begin : data + end]), dtype=torch.uint8)
        found[name] = _what(entry["dtype"], entry["shape"], flat.view(FORMATS.get(entry["dtype"], torch.uint8)))
    return found


class _Tensors(pickle.Unpickler):
    """Reads pickles of every protocol, which torch's own restricted reader does not, and calls what tensors need."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in CALLED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def _print_pickled(path: Path) -> int:
    def read(file: Any, **given: Any) -> Any:
        return _Tensors(file, **given).load()

    names = {"Unpickler": _Tensors, "load": read, "UnpicklingError": pickle.UnpicklingError, "__name__": "pickle"}
    value = torch.load(path, map_location="cpu", weights_only=False, pickle_module=SimpleNamespace(**names))
    found: list[tuple[str, str]] = []
    _gather(value, "", found)
    print(json.dumps(found))
    return 0


def _gather(value: Any, name: str, found: list[tuple[str, str]]) -> None:
    if isinstance(value, torch.Tensor):
        found.append((name, _digest(value)))
    elif isinstance(value, dict):
        for key, below in value.items():
            _gather(below, f"{name}.{key}" if name else str(key), found)


def _digest(tensor: torch.Tensor) -> str:
    names = {dtype: name for name, dtype in FORMATS.items()}
    flat = tensor.detach().contiguous().reshape(-1)
    return _what(names.get(tensor.dtype, str(tensor.dtype)), tensor.shape, flat)


def _what(dtype: str, shape: Sequence[int], flat: torch.Tensor) -> str:
    """What a tensor is: format, shape, bytes, and its numbers as the network has them."""
    sums = [hashlib.sha256(each.view(torch.uint8).numpy().tobytes()).hexdigest() for each in (flat, flat.float())]
    return f"{dtype} {list(shape)} {' '.join(sums)}"


def _general(words: str) -> str:
    """A text without what differs from round to round, so that equal faults are equal."""
    words = re.sub(r"/\S*dit-fuzz\S*(: )?", "", words)
    return re.sub(r"0x[0-9a-f]+|\d+", "#", words.encode("unicode_escape").decode())
