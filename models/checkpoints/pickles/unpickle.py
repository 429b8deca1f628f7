"""A program that turns one file of torch.save into one safetensors file. The only process that opens a pickle.

    python -m dit_serve.models.checkpoints.pickles.unpickle SOURCE TARGET WEIGHTS PART SHA256

convert.py runs it in a process of its own, so that whatever a pickle does, it does not do it where images are made.
WEIGHTS is "model", "ema" or "any"; PART is what is looked for: "dit", "vae", or "whole" for a state dict as it is;
SHA256 is the source's. Memory is bounded by the source's size: the source is mapped, tensors are written one after
another, nothing is held but the one being written. What holds no such model is refused before a byte is written. It
prints one line of JSON: {"taken": ...} or {"error": ...}.

References: the safetensors format (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dit_serve.models.checkpoints.files import reason
from dit_serve.models.checkpoints.layouts import recognise
from dit_serve.models.checkpoints.pickles.gathered import SHARDED, Gathered, Unbounded, gather, settings
from dit_serve.models.checkpoints.pickles.torch_file import PickleRefused, no_memory, read_torch_file
from dit_serve.models.checkpoints.shapes import refuse_misshapen
from dit_serve.models.checkpoints.tensor_files import StoredTensor, refuse_names
from dit_serve.models.checkpoints.trust import create
from dit_serve.models.checkpoints.wrappers import Selected, select, select_autoencoder, told
from dit_serve.models.errors import CheckpointError, found_no_memory, printable

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_SPARE_BYTES = 768 << 20  # beside twice the source: one tensor that is copied, and what torch takes at its first call
_MOST_GROWTH = 4  # a target this many times its source, and more, is no state dict but one number said many times
_LONGEST, _LEAST = 299, 260  # of a sentence, with the file that convert.py says before it; of it alone
_FREE_BYTES = 1 << 20  # up to which a target may grow whatever its source
_SPARE_SECONDS, _BYTES_A_SECOND = 30, 10 << 20  # of a processor's time; reading and writing takes a tenth of it


def main(arguments: list[str]) -> int:
    """Convert arguments[0] into arguments[1], print the outcome and return the exit status."""
    source, target = map(Path, arguments[:2])
    weights, part, sha256 = arguments[2:] or ("any", "dit", "")
    try:
        taken = unpickle(source, target, None if weights == "any" else weights, part, sha256)
    except PickleRefused as error:
        print(json.dumps({"error": str(error)}))
        return 1
    except (MemoryError, RuntimeError) as error:
        if not found_no_memory(error):
            raise
        print(json.dumps({"error": no_memory()}))
        return 1
    except OSError as error:
        words = f"cannot be converted ({reason(error)}): make room, or set DIT_CACHE to another disk"
        print(json.dumps({"error": words}))
        return 1
    print(json.dumps({"taken": taken}))
    return 0


def unpickle(source: Path, target: Path, weights: str | None = None, part: str = "dit", source_sha256: str = "") -> str:
    """Write the wanted tensors of a state dict or training checkpoint into a new safetensors file.

    Returns:
        What was taken and left out, in words.

    Raises:
        PickleRefused: the source is damaged, asks for code, or holds no such model.
        OSError: the target cannot be written.
    """
    value = read_torch_file(source)
    try:
        everything = gather(value)
        selected = _selected(everything, weights, part, source)
        tensors = {name: everything.tensors[stored.name] for name, stored in selected.found.items()}
        _check_size(tensors, source.stat().st_size)
        if part == "dit" and recognise(selected.found, source) == "original":
            refuse_misshapen(selected.found, source)
    except Unbounded as error:
        raise PickleRefused(str(error)) from error
    except CheckpointError as error:
        words = str(error).removeprefix(f"{source}: ")
        raise PickleRefused(printable(words, max(_LEAST, _LONGEST - len(f"{source}: ")))) from error
    metadata = {
        "source_sha256": source_sha256,
        "weights": selected.which,
        "prefix": selected.prefix,
        "taken": told(selected),
        "args": json.dumps(settings(value), sort_keys=True),
    }
    with open(create(target), "wb") as file:
        write_safetensors(file, tensors, {name: text for name, text in metadata.items() if text not in ("", "{}")})
        file.flush()
        os.fsync(file.fileno())
    return told(selected)


def write_safetensors(file: BinaryIO, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors one after another; the same tensors give the same bytes.

    Raises:
        OSError: the disk is full, or the file cannot be written for another reason.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each begins aligned
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name in order:
        end = offset + tensors[name].numel() * tensors[name].element_size()
        header[name] = {
            "dtype": DTYPES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(struct.pack("<Q", len(raw)) + raw)
    for name in order:
        file.write(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _selected(everything: Gathered, weights: str | None, part: str, source: Path) -> Selected:
    """The tensors that are wanted, all of a kind that is written.

    Raises:
        CheckpointError, PickleRefused: they are not there, or cannot be written.
    """
    found = {name: _stored(source, name, tensor) for name, tensor in everything.tensors.items()}
    found |= {name: StoredTensor(source, name, (), kind) for name, kind in everything.others.items()}
    if not found:
        raise PickleRefused(_without_tensors(everything))
    refuse_names(found, source)
    if part == "whole":
        selected = _outermost(found)
    elif part == "vae":
        selected = select_autoencoder(found, source)
    else:
        selected = select(found, weights, source)
    unnamed = [name for name in everything.lists if "ema" in name.lower() or name.endswith("shadow_params")]
    if unnamed and selected.which == "" and part == "dit" and weights != "model":
        hint = ", or take the model's own by `--weights model`" if selected.prefix else ""
        raise PickleRefused(
            f"its EMA is a list without names, {printable(unnamed[0], 40)}: save the EMA as a state dict{hint}"
        )
    _check_kinds(selected, everything)
    if part == "dit":
        try:
            recognise(selected.found, source)
        except CheckpointError as error:
            if everything.modules or everything.lists or everything.is_flattened:
                raise PickleRefused(_without_tensors(everything)) from error
            raise
    return selected


def _outermost(found: dict[str, StoredTensor]) -> Selected:
    """A flat state dict as it is, or the only one in its file: tensors with one name before theirs that all share."""
    parts = {"state_dict", "model_state_dict", "model", "params", "module"}
    first = {name.partition(".")[0] for name in found}
    prefix = f"{first.pop()}." if len(first) == 1 and first <= parts else ""
    return Selected({name.removeprefix(prefix): stored for name, stored in found.items()}, "", prefix, ())


def _stored(source: Path, name: str, tensor: torch.Tensor) -> StoredTensor:
    return StoredTensor(source, name, tuple(tensor.shape), DTYPES.get(tensor.dtype, str(tensor.dtype)))


def _check_kinds(selected: Selected, everything: Gathered) -> None:
    """Refuse tensors that are not written as they are, and those of which the numbers are elsewhere."""
    if any(everything.others.get(stored.name) == SHARDED for stored in selected.found.values()):
        raise PickleRefused(_sharded())
    kinds = set(DTYPES.values())
    refused = sorted(
        f"{printable(name, 60)} ({printable(stored.dtype, 40)})"
        for name, stored in selected.found.items()
        if stored.name in everything.others or stored.dtype not in kinds
    )
    if refused:
        more = f" and {len(refused) - 2} more" if len(refused) > 2 else ""
        raise PickleRefused(
            f"holds tensors of a kind that is not converted: {', '.join(refused[:2])}{more}: save plain tensors"
        )
    if 2 * sum(0 in stored.shape for stored in selected.found.values()) > len(selected.found):
        raise PickleRefused(
            "its tensors are empty, as DeepSpeed ZeRO-3 leaves them: gather them first (zero_to_fp32.py), "
            "then give that file"
        )


def _check_size(tensors: Mapping[str, torch.Tensor], source_bytes: int) -> None:
    """Refuse what would be written many times as large as it is stored."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
    expanded = sorted(name for name, tensor in tensors.items() if sizes[name] > tensor.untyped_storage().nbytes())
    if expanded or sum(sizes.values()) > max(_FREE_BYTES, _MOST_GROWTH * source_bytes):
        which = printable(expanded[0], 60) if expanded else "together"
        raise PickleRefused(
            f"its tensors are larger than their data in the file ({which}): save a state dict of tensors that are not "
            "expanded"
        )


def _without_tensors(everything: Gathered) -> str:
    """What to say of a file in which no whole tensor has a name."""
    if everything.is_flattened:
        return _sharded()
    if everything.modules:
        return _whole_network(everything)
    if everything.lists:
        where = printable(everything.lists[0], 40) or "the file itself"
        return f"its tensors have no names, {where} is a list or a tensor: save a state dict"
    return "holds no tensors: save model.state_dict() with torch.save, or give another file"


def _sharded() -> str:
    return (
        "its tensors are sharded, parts of larger ones as a distributed trainer holds them: "
        "save a full state dict, then give that file"
    )


def _whole_network(everything: Gathered) -> str:
    kind = printable(next(iter(everything.modules.values())), 60)
    return f"holds a whole network ({kind}), which is code and not weights: save its state_dict()"


def _bound(source: Path) -> None:
    """Let this process take no more memory and time than converting a file of this size needs, where that can be said.

    Once the time is over the system ends it by SIGXCPU, of which convert.py makes a sentence.
    """
    try:
        import resource  # not on Windows

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        size = source.stat().st_size
    except (ImportError, OSError, LookupError, ValueError):
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + _SPARE_SECONDS + size // _BYTES_A_SECOND
    room = pages * resource.getpagesize() + 2 * size + _SPARE_BYTES
    for kind, wanted in ((resource.RLIMIT_DATA, room), (resource.RLIMIT_CPU, seconds)):
        soft, hard = resource.getrlimit(kind)
        given = [limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(given), hard))


if __name__ == "__main__":
    torch.set_num_threads(1)  # the stacks of a hundred threads would count as memory
    _bound(Path(sys.argv[1]))
    sys.exit(main(sys.argv[1:]))
