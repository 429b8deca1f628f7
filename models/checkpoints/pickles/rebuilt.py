"""Makes tensors and plain containers of what a pickle says of them, by functions of ours under torch's names.

A tensor is a view of its storage that is checked before it is made: torch's own function would enlarge a storage that
is too small. Everything else that a file wants to be made is inert data (inert.py). Knows no opcode.

References: torch/_utils.py, `_rebuild_tensor_v2` and its like; torch/_tensor.py, `_rebuild_from_type_v2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from dit_serve.models.checkpoints.pickles.inert import Inert, Named
from dit_serve.models.checkpoints.pickles.pickle_names import CodeAskedFor

KEYS = (str, int, float, bool, bytes, type(None))  # of a dictionary; what else stands there is never hashed


def rebuilt(what: Named, args: tuple[Any, ...]) -> Any:
    """Return what calling a name with these arguments stands for: a tensor, a plain container, or inert data.

    Raises:
        CodeAskedFor: the arguments are no data's.
        ValueError, TypeError: they are no tensor's.
    """
    if what.path in _REBUILDERS:
        return _REBUILDERS[what.path](*args)
    if what.path in ("copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__") and args:
        if type(args[0]) is not Named:
            raise CodeAskedFor("the making of what is no class")
        return rebuilt(args[0], args[1:] if what.path == "copyreg.__newobj__" else ())
    return Inert(what.path, args)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, dtype: torch.dtype | None = None) -> Any:
    """A view of a storage; what follows its strides has no effect on the numbers, but for a negative view's mark."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.storage.TypedStorage | torch.UntypedStorage) or len(size) != len(stride):
        raise ValueError("a tensor of no storage")
    if not all(type(each) is int and 0 <= each < 1 << 62 for each in numbers):
        raise ValueError("a tensor of no size")
    if len(rest) > 2 and rest[2]:
        return Inert("torch._utils._rebuild_tensor_with_marks")
    data = storage if isinstance(storage, torch.UntypedStorage) else storage._untyped_storage
    dtype = dtype or (torch.uint8 if isinstance(storage, torch.UntypedStorage) else storage.dtype)
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if all(size) and (last + 1) * dtype.itemsize > data.nbytes():
        raise ValueError("a tensor that reaches beyond its storage")
    if not all(size):
        return torch.empty(size, dtype=dtype)
    return torch.empty((0,), dtype=dtype).set_(data, offset, size, stride)


def _tensor_of_type(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any
) -> Any:
    """A view of a storage that has no number format of its own."""
    if not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor of no number format")
    return _tensor(storage, offset, size, stride, grad, hooks, *rest, dtype=dtype)


def _tensor_with_attributes(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor without its attributes; one of a class of its own is inert."""
    path = kind.path if isinstance(kind, Named) else ""
    if isinstance(function, Named) and function.path in _REBUILDERS and path in _PLAIN_TENSORS:
        return rebuilt(function, args)
    return Inert("torch._tensor._rebuild_from_type_v2", (function, kind, args, state))


def _first(data: Any, *rest: Any) -> Any:
    """A parameter is its tensor."""
    return data


def _dictionary(*args: Any) -> dict[Any, Any]:
    """A dictionary of the last argument's pairs, if it is a list of them."""
    pairs = args[-1] if args and isinstance(args[-1], list) else []
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and type(pair[0]) in KEYS}


_PLAIN_TENSORS = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_REBUILDERS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": lambda size=(): tuple(size) if isinstance(size, list | tuple) else (),
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    "collections.Counter": lambda counts=None: dict(counts) if type(counts) is dict else {},
    "builtins.dict": _dictionary,
}
