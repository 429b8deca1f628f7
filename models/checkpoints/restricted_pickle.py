"""Reads a pickle of torch.save without running anything: tensors become tensors, every other object inert data.

torch.load takes this module as its `pickle_module`: `Unpickler` and `load` are the names that it asks for. Protocols 0
to 5. No name is imported and no function that a file names is called: of tensors the few rebuilders below are, which are
ours; of storages those that torch maps. What a file would have run is refused (pickle_names.py). Keys are numbers and
text alone, so that nothing of the file's making is hashed or compared; reading never asks for more bytes than there are.

Only the child process of a conversion imports this. Knows no state dict and no path.

References: CPython's Lib/pickle.py and pickletools.py; torch/_utils.py, `_rebuild_tensor_v2` and its like.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import torch

from dit_serve.models.checkpoints.inert import Inert, Named
from dit_serve.models.checkpoints.pickle_names import current_name, is_code

_CHUNK = 1 << 20  # reads below it are not compared with what is left of the file
_KEYS = (str, int, float, bool, bytes, type(None))


class CodeAskedFor(Exception):
    """A pickle means to run something; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _Whole:
    """A file of which a read gives all bytes that were asked for, or raises EOFError before any memory is taken."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if size > _CHUNK:
            here = self._file.tell()
            left = self._file.seek(0, io.SEEK_END) - here
            self._file.seek(here)
            if size > left:
                raise EOFError("the file ends before what it holds")
        found = self._file.read(size)
        if len(found) < size:
            raise EOFError("the file ends before what it holds")
        return found

    def readline(self) -> bytes:
        line = self._file.readline(_CHUNK)
        if not line.endswith(b"\n"):
            raise EOFError("the file ends in the middle of a line")
        return line


class Unpickler(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """The interpreter of Lib/pickle.py with every opcode that makes or changes an object replaced."""

    def __init__(self, file: BinaryIO, *, encoding: str = "utf-8") -> None:
        super().__init__(_Whole(file), encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """Return a number format, a kind of storage, or the mere name of anything else.

        Raises:
            CodeAskedFor: the name is of code.
        """
        if self.proto < 3:
            module, name = current_name(module, name)
        if is_code(module, name):
            raise CodeAskedFor(f"{module}.{name}")
        if module == "torch" and isinstance(found := torch.__dict__.get(name), torch.dtype):
            return found
        if (module, name) in (("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage")):
            return torch.UntypedStorage
        return Named(f"{module}.{name}")

    def get_extension(self, code: int) -> None:
        """Refuse a name that stands in a table of this process.

        Raises:
            CodeAskedFor: always.
        """
        raise CodeAskedFor(f"the copyreg extension {code}")

    def make(self, what: object, args: object) -> None:
        """Push what calling `what` would give."""
        if type(what) is not Named or type(args) is not tuple:
            raise CodeAskedFor(f"the result of {what.path}" if isinstance(what, Inert) else "a value, to be called,")
        self.append(_made(what, args))

    def load_reduce(self) -> None:
        """REDUCE: call, with a tuple of arguments."""
        args, what = self.stack.pop(), self.stack.pop()
        self.make(what, args)

    def load_newobj_ex(self) -> None:
        """NEWOBJ_EX: make an object, with keyword arguments, which are not kept."""
        self.stack.pop()
        self.load_reduce()

    def load_inst(self) -> None:
        """INST: a class by name, of protocol 0."""
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        args = tuple(self.pop_mark())
        self.make(self.find_class(module, name), args)

    def load_obj(self) -> None:
        """OBJ: a class from the stack, of protocol 1."""
        what, *args = self.pop_mark()
        self.make(what, tuple(args))

    def load_build(self) -> None:
        """BUILD: an object's state; the attributes of a dictionary or tensor are not kept."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.states.append(state)
        elif not isinstance(target, dict | torch.Tensor):
            raise CodeAskedFor(f"a change of {target.path if isinstance(target, Named) else type(target).__name__}")

    def extend(self, items: list[Any]) -> None:
        """Append to the list on the stack's top, or to what was to be one."""
        target = self.stack[-1]
        if not isinstance(target, list | Inert):
            raise pickle.UnpicklingError("appends to what is no list")
        (target.items if isinstance(target, Inert) else target).extend(items)

    def load_appends(self) -> None:
        """APPENDS, and ADDITEMS of a set."""
        items = self.pop_mark()
        self.extend(items)

    def load_append(self) -> None:
        """APPEND: one item."""
        item = self.stack.pop()
        self.extend([item])

    def put(self, pairs: list[Any]) -> None:
        """Set keys and values, one after the other, in the dictionary on the stack's top."""
        target = self.stack[-1]
        if not isinstance(target, dict | Inert):
            raise pickle.UnpicklingError("sets entries in what is no dictionary")
        entries = list(zip(pairs[::2], pairs[1::2], strict=True))
        if isinstance(target, Inert):
            target.pairs.extend(entries)
        else:
            target.update((key if type(key) in _KEYS else Inert("key", (key,)), value) for key, value in entries)

    def load_setitems(self) -> None:
        """SETITEMS: many entries."""
        pairs = self.pop_mark()
        self.put(pairs)

    def load_setitem(self) -> None:
        """SETITEM: one entry."""
        value, key = self.stack.pop(), self.stack.pop()
        self.put([key, value])

    def load_dict(self) -> None:
        """DICT: a dictionary with its entries."""
        pairs = self.pop_mark()
        self.append({})
        self.put(pairs)

    def load_set(self) -> None:
        """EMPTY_SET, and FROZENSET once its items are marked: as inert data, for its items may be anything."""
        self.append(Inert("builtins.set"))

    def load_frozenset(self) -> None:
        """FROZENSET: a set with its items."""
        items = self.pop_mark()
        self.append(Inert("builtins.frozenset", items=items))

    def load_bytearray(self) -> None:
        """BYTEARRAY8: read first, so that no memory is taken for what is not there."""
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def push_storage(self, key: object) -> None:
        """Push the storage that a persistent id names, which torch gives; of a class that has its source beside, the name."""
        if type(key) is tuple and len(key) == 4 and key[0] == "module" and type(key[1]) is Named:
            self.append(key[1])
            return
        if not _is_storage_key(key):
            raise CodeAskedFor("something outside itself, by a persistent id that is no tensor's,")
        self.append(self.persistent_load(key))

    def load_binpersid(self) -> None:
        """BINPERSID: a tensor's storage."""
        self.push_storage(self.stack.pop())

    def load_persid(self) -> None:
        """PERSID: text, which no storage's id is."""
        self.push_storage(self.readline())

    dispatch: Mapping[int, Callable[[Any], None]] = {
        **pickle._Unpickler.dispatch,  # type: ignore[attr-defined]
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.INST[0]: load_inst,
        pickle.OBJ[0]: load_obj,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.ADDITEMS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.EMPTY_SET[0]: load_set,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.BYTEARRAY8[0]: load_bytearray,
        pickle.PERSID[0]: load_persid,
        pickle.BINPERSID[0]: load_binpersid,
    }


def load(file: BinaryIO, *, encoding: str = "utf-8") -> Any:
    """Return the value of the pickle that begins here, as `Unpickler` reads it."""
    return Unpickler(file, encoding=encoding).load()


def _is_storage_key(key: object) -> bool:
    """Whether it is what torch.save writes: ("storage", type, name, place, count), and a view's or None in old files."""
    if type(key) is not tuple or len(key) not in (5, 6) or key[0] not in ("storage", b"storage"):
        return False
    view = key[5] if len(key) == 6 else None
    is_view = view is None or (type(view) is tuple and [type(each) for each in view] == [str, int, int])
    kind, name, place, count = key[1:5]
    is_kind = kind is torch.UntypedStorage or isinstance(kind, torch.serialization.StorageType)
    return is_view and is_kind and type(name) is str and type(place) in (str, bytes) and type(count) is int and count >= 0


def _made(what: Named, args: tuple[Any, ...]) -> Any:
    """A tensor, a plain container, or inert data of this name."""
    if what.path in _REBUILDERS:
        return _REBUILDERS[what.path](*args)
    if what.path in ("copyreg._reconstructor", "copyreg.__newobj__", "copyreg.__newobj_ex__") and args:
        if type(args[0]) is not Named:
            raise CodeAskedFor("the making of what is no class")
        return _made(args[0], args[1:] if what.path == "copyreg.__newobj__" else ())
    return Inert(what.path, args)


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any, dtype: torch.dtype | None = None) -> Any:
    """A view of a storage; what follows its strides has no effect on the numbers, but for a negative view's mark."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.storage.TypedStorage | torch.UntypedStorage) or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor of no storage")
    if not all(type(each) is int and 0 <= each < 1 << 62 for each in numbers):
        raise pickle.UnpicklingError("a tensor of no size")
    if len(rest) > 2 and rest[2]:
        return Inert("torch._utils._rebuild_tensor_with_marks")
    data = storage if isinstance(storage, torch.UntypedStorage) else storage._untyped_storage
    dtype = dtype or (torch.uint8 if isinstance(storage, torch.UntypedStorage) else storage.dtype)
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if all(size) and (last + 1) * dtype.itemsize > data.nbytes():
        raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
    if not all(size):
        return torch.empty(size, dtype=dtype)
    return torch.empty((0,), dtype=dtype).set_(data, offset, size, stride)


def _tensor_of_type(storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *rest: Any) -> Any:
    if not isinstance(dtype, torch.dtype):
        raise pickle.UnpicklingError("a tensor of no number format")
    return _tensor(storage, offset, size, stride, grad, hooks, *rest, dtype=dtype)


def _tensor_with_attributes(function: Any, kind: Any, args: Any, state: Any) -> Any:
    """A tensor without its attributes; one of a class of its own is inert."""
    path = kind.path if isinstance(kind, Named) else ""
    if isinstance(function, Named) and function.path in _REBUILDERS and path in _PLAIN_TENSORS:
        return _made(function, args)
    return Inert("torch._tensor._rebuild_from_type_v2", (function, kind, args, state))


def _first(data: Any, *rest: Any) -> Any:
    """A parameter is its tensor."""
    return data


def _dictionary(*args: Any) -> dict[Any, Any]:
    """A dictionary of the last argument's pairs, if it is a list of them."""
    pairs = args[-1] if args and isinstance(args[-1], list) else []
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and type(pair[0]) in _KEYS}


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
