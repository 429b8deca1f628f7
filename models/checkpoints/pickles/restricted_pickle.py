"""Reads a pickle of torch.save without running anything: tensors become tensors, every other object inert data.

torch.load takes this module, or a `Bounded` of it, as its `pickle_module`: `Unpickler` and `load` are the names that it
asks for. Protocols 0 to 5. No name is imported and no function that a file names is called: tensors are made by
functions of ours (rebuilt.py) of the storages that torch finds. What a file would have run is refused
(pickle_names.py). Keys are numbers and text alone, so that nothing of the file's making is hashed or compared; reading
never asks for more bytes than there are, and ends after a number of opcodes that no checkpoint has.

Only the child process of a conversion imports this. Knows no state dict and no path.

References: CPython's Lib/pickle.py and pickletools.py; torch/serialization.py.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar, TypeGuard

import torch

from dit_serve.models.checkpoints.pickles.inert import Inert, Named
from dit_serve.models.checkpoints.pickles.pickle_names import CodeAskedFor, current_name, is_code
from dit_serve.models.checkpoints.pickles.rebuilt import KEYS, rebuilt

_MOST_OPCODES = 2_000_000  # of one pickle; a network of 1,000 tensors, with an EMA and an optimizer, has 150,000
_CHUNK = 1 << 20  # reads below it are not compared with what is left of the file


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


class TooLong(Exception):
    """A pickle has more opcodes than any checkpoint."""


class _Counted(dict[int, Callable[[Any], None]]):
    """What each opcode does, which can be looked up so many times."""

    left = _MOST_OPCODES

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise TooLong
        return super().__getitem__(opcode)


class Unpickler(pickle._Unpickler):
    """The interpreter of Lib/pickle.py with every opcode that makes or changes an object replaced.

    Attributes:
        record_bytes: how many bytes the file has of each storage, by its name, where they are records of an archive.
    """

    record_bytes: ClassVar[Mapping[str, int] | None] = None
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    proto: int

    def __init__(self, file: BinaryIO, *, encoding: str = "utf-8") -> None:
        super().__init__(_Whole(file), encoding=encoding)
        vars(self)["dispatch"] = _Counted(self.dispatch)  # in the place of the class's, which counts nothing

    def find_class(self, module: str, name: str) -> Any:
        """Return a number format, a kind of storage, or the mere name of anything else.

        Raises:
            CodeAskedFor: the name is of code.
            ValueError: it is no name.
        """
        if self.proto < 3:
            module, name = current_name(module, name)
        if is_code(module, name):
            raise CodeAskedFor(f"{module}.{name}")
        if not all(part.isidentifier() for part in f"{module}.{name}".split(".")):
            raise ValueError("a name that nothing can have")
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
            raise CodeAskedFor(f"a call of what {what.path} gave" if isinstance(what, Inert) else "a call of a value")
        self.append(rebuilt(what, args))

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
            target.update((key if type(key) in KEYS else Inert("key", (key,)), value) for key, value in entries)

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
        """Push what a persistent id names: a storage, which torch gives, or a class, which old files give a source."""
        if type(key) is tuple and len(key) == 4 and key[0] == "module" and type(key[1]) is Named:
            self.append(key[1])
            return
        if not _is_storage_key(key):
            raise CodeAskedFor("a persistent id that is no tensor's")
        _, kind, name, _, count = key[:5]
        size = count if kind is torch.UntypedStorage else count * kind.dtype.itemsize
        if self.record_bytes is not None and size != self.record_bytes.get(name):
            raise ValueError("a storage that is not its record")  # a larger one would have what stands behind, mapped
        self.append(self.persistent_load(key))

    def load_binpersid(self) -> None:
        """BINPERSID: a tensor's storage."""
        self.push_storage(self.stack.pop())

    def load_persid(self) -> None:
        """PERSID: text, which no storage's id is."""
        self.push_storage(self.readline())

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **pickle._Unpickler.dispatch,
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


class Bounded:
    """This module's two names for one archive, whose storages may not be larger than its records."""

    def __init__(self, record_bytes: Mapping[str, int]) -> None:
        self.__name__ = __name__  # which torch asks a pickle module for too
        self.Unpickler = type("Unpickler", (Unpickler,), {"record_bytes": record_bytes})
        self.load = load


def _is_storage_key(key: object) -> TypeGuard[tuple[Any, ...]]:
    """Whether it is what torch.save writes: ("storage", type, name, place, count), in old files a view or None too."""
    if type(key) is not tuple or len(key) not in (5, 6) or key[0] not in ("storage", b"storage"):
        return False
    view = key[5] if len(key) == 6 else None
    is_view = view is None or (type(view) is tuple and [type(each) for each in view] == [str, int, int])
    kind, name, place, count = key[1:5]
    is_kind = kind is torch.UntypedStorage or isinstance(kind, torch.serialization.StorageType)
    is_counted = type(count) is int and count >= 0
    return is_view and is_kind and is_counted and type(name) is str and type(place) in (str, bytes)
