"""All tensors in what torch.save was given, by dotted path, and what stands in the place of tensors.

A trainer's file is a tree of dictionaries and objects, read as data (restricted_pickle.py). Here it is walked, a few
levels deep and every dictionary a bounded number of times, so that a file which refers to itself ends. Knows no model's
names and no file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from dit_serve.models.checkpoints.pickles.inert import Inert, entries, scalars
from dit_serve.models.checkpoints.wrappers import Scalar

_DEEPEST = 8
_MOST_ENTRIES = 300_000  # whatever they are, however often one is met
_ARGUMENTS = ("args", "config", "hyper_parameters", "hparams", "cfg", "options", "opts", "model_args", "model_config")
# What torch makes of its tensors that are no plain ones, in words for the person who has them.
_OTHER_KINDS = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_meta_tensor_no_storage": "without numbers, on the meta device",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_wrapper_subclass": "of a class of its own",
    "torch._utils._rebuild_tensor_with_marks": "a lazy conjugate or negative",
    "torch._tensor._rebuild_from_type_v2": "of a class of its own",
}
SHARDED = "a shard of a distributed tensor"


class Unbounded(Exception):
    """The value has more entries than any checkpoint."""


@dataclass(slots=True)
class Gathered:
    """What a file holds.

    Attributes:
        tensors: by dotted path.
        others: what takes a tensor's place, by dotted path: "sparse".
        modules: classes of whole pickled networks, by dotted path.
        lists: paths of lists of tensors, whose names are lost; "" is the value itself.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)

    @property
    def is_flattened(self) -> bool:
        """Whether it holds parameters that a distributed trainer has joined, and cut, into ones without names."""
        return any(name.endswith("_flat_param") for name in self.tensors)


def gather(value: object) -> Gathered:
    """Return the tensors in a value, and what stands in their place.

    Raises:
        Unbounded: there are more than 300,000 entries, counted each time that one is met.
    """
    result = Gathered()
    seen = 0
    for path, each in _walk(value, (), ()):
        seen += 1
        if seen > _MOST_ENTRIES:
            raise Unbounded("holds more than 300,000 entries, as no checkpoint does: save the state dict alone")
        name = ".".join(path).encode("utf-8", "replace").decode()  # half a character can be in no header
        if isinstance(each, torch.Tensor) and path:
            result.tensors[name] = each.detach()
        elif isinstance(each, Inert) and (kind := _other_kind(each)):
            result.others[name] = kind
        elif isinstance(each, Inert) and _is_module(each):
            result.modules[name] = each.path
        elif isinstance(each, torch.Tensor) or _is_list_of_tensors(each):
            result.lists.append(name)
    return result


def settings(value: object) -> dict[str, Scalar]:
    """Return the scalars of a trainer's arguments, else those that stand beside its weights."""
    top = dict(entries(value))
    beside = {name: each for name, each in top.items() if not isinstance(each, dict | list | torch.Tensor)}
    own = [top[name] for name in _ARGUMENTS if name in top and not _is_optimizer(top[name])]
    plain = {name: each for name, each in beside.items() if isinstance(each, str | int | float)}
    return scalars([*own, plain])


def _walk(value: Any, path: tuple[str, ...], above: tuple[int, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with its path; dictionaries and objects are walked too, unless they hold themselves."""
    yield path, value
    is_leaf = isinstance(value, Inert) and (_other_kind(value) is not None or _is_module(value))
    if not isinstance(value, dict | Inert) or is_leaf:
        return
    if id(value) in above or len(above) >= _DEEPEST:
        return
    for name, each in entries(value):
        yield from _walk(each, (*path, name), (*above, id(value)))


def _is_list_of_tensors(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, torch.Tensor) for each in value)


def _is_module(value: Inert) -> bool:
    return {"_parameters", "_modules"} <= value.attributes().keys()


def _other_kind(value: Inert) -> str | None:
    """What kind of tensor this was to be, None if none."""
    if value.path.startswith("torch.distributed.") and value.path.rpartition(".")[2] in ("DTensor", "ShardedTensor"):
        return SHARDED
    kind = _OTHER_KINDS.get(value.path)
    is_sharded = kind is not None and any(
        getattr(each, "path", "").startswith("torch.distributed.") for each in value.args
    )
    return SHARDED if is_sharded else kind


def _is_optimizer(value: object) -> bool:
    """Whether it is an optimizer's state, whatever it is called."""
    return not {"state", "param_groups"}.isdisjoint(name for name, _ in entries(value))
