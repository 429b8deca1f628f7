"""Which of a file's tensors are the model's, by their names alone: what trainers wrap around it is found and stripped.

    ema.module.x_embedder.proj.weight                 prefix "ema.module."     the EMA of a DDP trainer
    state_dict.model._orig_mod.blocks.0.attn...       prefix "state_dict.model.", compiled

A file's nested dictionaries are dotted paths here. The parts that frameworks put anywhere in a name are dropped; what
stands before the first part that only a DiT has is a prefix, and each prefix is one model. Which of them is an
exponential moving average is told by the words in it, or by the `n_averaged` beside it. Also: what a converted file's
header says of where it comes from (`Facts`). Knows no file format but safetensors' header, and no tensor's numbers.

References: torch's DistributedDataParallel, FullyShardedDataParallel, torch.compile and swa_utils.AveragedModel,
Lightning, DeepSpeed: what each puts before a parameter's name.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dit_serve.models.checkpoints.tensor_files import StoredTensor, read_headers, read_metadata
from dit_serve.models.errors import CheckpointError, printable

Weights = Literal["model", "ema"]
Scalar = str | int | float | bool

FRAMEWORK_PARTS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"})
DIT_HEADS = frozenset(
    {
        "x_embedder", "t_embedder", "y_embedder", "blocks", "final_layer",
        "transformer_blocks", "proj_out_1", "proj_out_2",
    }
)  # fmt: skip
VAE_HEADS = frozenset({"encoder", "decoder", "quant_conv", "post_quant_conv"})
_OPTIMIZERS = frozenset(  # some keep what they know of a parameter under its name
    {"opt", "optim", "optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict"}
)
_STRAYS = _OPTIMIZERS | {  # beside a model that has no prefix
    "n_averaged", "scheduler", "lr_scheduler", "lr_schedulers", "scaler", "loss", "step", "epoch", "global_step",
    "rng_state", "cuda_rng_state",
}  # fmt: skip
_IS_AVERAGE = re.compile(r"(?<![a-z])(?:ema|averaged?|avg|swa|shadow)(?![a-z])")
_IS_LIVE = re.compile(r"(?<![a-z])(?:online|student|raw)(?![a-z])")  # inside an EMA's own module, what it averages
_MOST_LISTED = 5
_MOST_TAKEN = 2000  # characters of what was taken: anybody can write a header
_MOST_SAID_BYTES = 1 << 20  # of a header's arguments; ours are far below


@dataclass(frozen=True, slots=True)
class Selected:
    """The tensors of one model among a file's.

    Attributes:
        found: by clean name; `StoredTensor.name` stays the stored one.
        which: "model" or "ema", "" where the file holds one model and does not say which.
        prefix: what was stripped, "" for nothing.
        left_out: one phrase a group left out: "opt (412 tensors)".
    """

    found: dict[str, StoredTensor]
    which: str
    prefix: str
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header of a converted file says beside its tensors.

    Attributes:
        args: scalars of the trainer's arguments, flattened.
        source_sha256: of the file that was converted, None for a file that is no conversion.
        which, prefix: as in `Selected`.
        taken: what was taken and left out, in words for the log.
    """

    args: Mapping[str, Scalar]
    source_sha256: str | None = None
    which: str = ""
    prefix: str = ""
    taken: str = ""


@dataclass(frozen=True, slots=True)
class _Candidate:
    prefix: str  # with the frameworks' parts, as the first of its names has it
    which: Weights
    is_inside_average: bool
    members: dict[str, StoredTensor]


def select(found: Mapping[str, StoredTensor], wanted: str | None, where: object) -> Selected:
    """Return the DiT's tensors by clean name; names that are clean, or no DiT's, are returned as they are.

    Args:
        wanted: "model" or "ema"; None takes the EMA where there are both.
        where: the file, for messages.

    Raises:
        CheckpointError: what is wanted is not there, or several models are and cannot be told apart.
    """
    return _select(found, wanted, where, DIT_HEADS)


def select_autoencoder(found: Mapping[str, StoredTensor], where: object) -> Selected:
    """Return an autoencoder's tensors by clean name, as `select` does a DiT's.

    Raises:
        CheckpointError: several autoencoders are there and cannot be told apart.
    """
    return _select(found, None, where, VAE_HEADS)


def read_selected(paths: Sequence[Path], wanted: str | None, where: object) -> Selected:
    """Return the tensors in a DiT's safetensors files by clean name; of a conversion, what its header says of them.

    Raises:
        CheckpointError: a file is no whole safetensors file, what is wanted is not there, or cannot be told apart.
    """
    facts = read_facts(paths[0])
    if wanted is not None and facts.which not in ("", wanted):
        raise CheckpointError(f"{where}: holds {facts.which} weights alone: leave out `--weights {wanted}`")
    selected = select(read_headers(paths), None if facts.which else wanted, where)
    return replace(selected, which=facts.which or selected.which)


def told(selected: Selected) -> str:
    """Return what was taken, stripped and left out in words for the log, "" where there is nothing to say."""
    words = []
    if selected.which or selected.prefix:
        words.append(f"took the {selected.which or 'model'}'s {len(selected.found)} tensors")
    if selected.prefix:
        words.append(f"stripped {printable(selected.prefix)!r} from their names")
    if selected.left_out:
        words.append(f"left out {_listed(selected.left_out, 12)}")
    return ", ".join(words)


def read_facts(path: Path) -> Facts:
    """Return what a safetensors file's header says of where its tensors come from; nothing for a plain file.

    Raises:
        CheckpointError: the file is no whole safetensors file.
    """
    metadata = read_metadata(path)
    args = _read_args(metadata.get("args", ""))
    heads = metadata.get("num_heads", "")  # how conversions said it before they said all arguments
    if heads.isascii() and heads.isdigit() and 0 < len(heads) < 6:
        args = {"num_heads": int(heads), **args}
    sha256 = metadata.get("source_sha256", "")
    which = metadata.get("weights", "")
    return Facts(
        args=args,
        source_sha256=sha256 if re.fullmatch(r"[0-9a-f]{64}", sha256) else None,
        which=which if which in ("model", "ema") else "",
        prefix=metadata.get("prefix", ""),
        taken=metadata.get("taken", "")[:_MOST_TAKEN],
    )


def _read_args(text: str) -> dict[str, Scalar]:
    try:
        value = json.loads(text) if 0 < len(text) <= _MOST_SAID_BYTES else {}
    except (ValueError, RecursionError):
        return {}
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: given for name, given in pairs if isinstance(given, str | int | float)}


def _select(found: Mapping[str, StoredTensor], wanted: str | None, where: object, heads: frozenset[str]) -> Selected:
    candidates = _candidates(found, heads, where)
    if not candidates:
        if wanted == "ema":
            raise CheckpointError(f"{where}: holds no EMA weights: leave out `--weights ema`")
        return Selected(dict(found), "", "", ())
    chosen = _choose(candidates, wanted, where)
    taken = {stored.name for stored in chosen.members.values()}
    is_told = chosen.which == "ema" or any(each.which == "ema" for each in candidates)
    return Selected(
        found=chosen.members,
        which=chosen.which if is_told else "",
        prefix=chosen.prefix,
        left_out=_groups((name for name in found if name not in taken), chosen.prefix),
    )


def _candidates(found: Mapping[str, StoredTensor], heads: frozenset[str], where: object) -> list[_Candidate]:
    """The models among the tensors, one a prefix; a prefix before at least two of the parts that such a model has."""
    clean = {name: _clean(name) for name in found}
    seen: dict[str, set[str]] = {}
    for name in clean.values():
        parts = name.split(".")
        first = next((i for i, part in enumerate(parts[:-1]) if part in heads), None)
        if first is not None:
            seen.setdefault("".join(f"{part}." for part in parts[:first]), set()).add(parts[first])
    prefixes = {
        prefix for prefix, beside in seen.items() if len(beside) > 1 and _OPTIMIZERS.isdisjoint(prefix.split("."))
    }
    members: dict[str, dict[str, StoredTensor]] = {prefix: {} for prefix in sorted(prefixes)}
    for stored_name, name in clean.items():
        owner = _owner(name, prefixes)
        if owner is not None and _belongs(name[len(owner) :], owner, heads):
            if name[len(owner) :] in members[owner]:
                raise CheckpointError(
                    f"{where}: holds {printable(name)} twice, compiled or wrapped and as it is: save one of them alone"
                )
            members[owner][name[len(owner) :]] = found[stored_name]
    counted = {name.removesuffix("n_averaged") for name in clean.values() if name.split(".")[-1] == "n_averaged"}
    candidates = [_candidate(prefix, each, counted) for prefix, each in members.items()]
    return candidates + [average for each in candidates if (average := _average_without_dots(each, clean, found))]


def _average_without_dots(
    model: _Candidate, clean: Mapping[str, str], found: Mapping[str, StoredTensor]
) -> _Candidate | None:
    """The average that LitEma of latent-diffusion keeps: names without dots, and none for what is not trained."""
    parts = _clean(model.prefix).split(".")[:-1]
    outer = ["".join(parts[i:]) for i in range(len(parts) + 1)]
    names = {f"{prefix}{name.replace('.', '')}": name for name in model.members if "." in name for prefix in outer}
    groups: dict[str, dict[str, StoredTensor]] = {}
    for stored_name, name in clean.items():
        head, _, last = name.rpartition(".")
        if last in names and _IS_AVERAGE.search(head.lower()):
            groups.setdefault(f"{head}.", {})[names[last]] = found[stored_name]
    prefix, members = max(groups.items(), key=lambda group: len(group[1]), default=("", {}))
    is_whole = len(members) == len(set(names.values())) and members
    return _Candidate(prefix, "ema", True, model.members | members) if is_whole else None


def _candidate(prefix: str, members: dict[str, StoredTensor], counted: set[str]) -> _Candidate:
    """A model with what its prefix says of it: the innermost word that speaks decides."""
    parts = [part.lower() for part in prefix.split(".")[:-1]]
    is_counted = any(prefix.startswith(f"{outer}module.") for outer in counted)
    speaking = [part for part in parts if _IS_AVERAGE.search(part) or _IS_LIVE.search(part)]
    is_average = is_counted or (bool(speaking) and not _IS_LIVE.search(speaking[-1]))
    stored = next((name.name[: -len(clean)] for clean, name in members.items() if name.name.endswith(clean)), prefix)
    is_inside = any(_IS_AVERAGE.search(part) for part in parts)
    return _Candidate(stored, "ema" if is_average else "model", is_inside, members)


def _choose(candidates: list[_Candidate], wanted: str | None, where: object) -> _Candidate:
    kinds = {each.which for each in candidates}
    which = wanted or ("ema" if "ema" in kinds else "model")
    fitting = [each for each in candidates if each.which == which]
    if not fitting:
        held = " and ".join(sorted(printable(each.prefix) or "one model" for each in candidates)[:3])
        lacks = "EMA weights" if which == "ema" else "model's own weights, only an average"
        raise CheckpointError(f"{where}: holds no {lacks} ({held[:100]}): leave out `--weights {which}`")
    outside = [each for each in fitting if which == "model" and not each.is_inside_average]
    fitting = outside or fitting
    if len(fitting) > 1:
        names = _listed([repr(printable(each.prefix)) for each in fitting], 3)
        raise CheckpointError(
            f"{where}: holds {len(fitting)} models that cannot be told apart, under {names[:160]}: "
            "save the one that is wanted alone"
        )
    return fitting[0]


def _clean(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in FRAMEWORK_PARTS)


def _owner(name: str, prefixes: set[str]) -> str | None:
    """The longest prefix that a name begins with."""
    parts = name.split(".")
    heads = ("".join(f"{part}." for part in parts[:length]) for length in range(len(parts) - 1, -1, -1))
    return next((head for head in heads if head in prefixes), None)


def _belongs(name: str, prefix: str, heads: frozenset[str]) -> bool:
    """Whether what stands after a prefix is the model's: a DiT's unknown names are, so that somebody names them."""
    first = name.partition(".")[0]
    return first in heads if heads is VAE_HEADS else bool(prefix) or first not in _STRAYS


def _groups(names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """One phrase a group of names that leave the prefix at the same part."""
    counts = Counter(_until_apart(name.split("."), prefix.split(".")) for name in names)
    return tuple(f"{printable(group)} ({count} tensor{'s' * (count > 1)})" for group, count in sorted(counts.items()))


def _until_apart(parts: list[str], others: list[str]) -> str:
    shared = next((i for i, (part, other) in enumerate(zip(parts, others, strict=False)) if part != other), 0)
    return ".".join(parts[: shared + 1])


def _listed(words: Iterable[str], most: int) -> str:
    every = list(words)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
