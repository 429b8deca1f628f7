"""Files of torch.save's form that mean to run something, written opcode by opcode; and a child that watches one read.

    python -m tests.models.checkpoints.pickles.hostile_pickles FILE ...

reads each by models/checkpoints/pickles/unpickle.py, with an audit hook, which cannot be taken off again, in place:
prints for each its refusal and what the interpreter was asked to do meanwhile, as JSON.
"""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from pathlib import Path

import torch

from dit_serve.models.checkpoints.pickles.unpickle import PickleRefused, unpickle

WATCHED = (
    "os.", "subprocess.", "exec", "compile", "import", "socket.", "ctypes.", "pty.", "shutil.", "webbrowser.",
    "pickle.find_class", "code.__new__", "tempfile.", "sys.set", "urllib.",
)  # fmt: skip
P = pickle
MARK = b"touch /tmp/never"


def text(value: bytes) -> bytes:
    """The opcode that pushes short text."""
    return P.SHORT_BINUNICODE + bytes([len(value)]) + value


def named(module: bytes, name: bytes) -> bytes:
    """A name, the way of protocol 2."""
    return P.GLOBAL + module + b"\n" + name + b"\n"


def stacked(module: bytes, name: bytes) -> bytes:
    """A name, the way of protocol 4, where dots lead into a class or module."""
    return text(module) + text(name) + P.STACK_GLOBAL


def called(what: bytes, *args: bytes) -> bytes:
    """A call with these arguments."""
    return what + P.MARK + b"".join(args) + P.TUPLE + P.REDUCE


SYSTEM = named(b"posix", b"system")
NAMESPACE = named(b"argparse", b"Namespace")
STATE = P.EMPTY_DICT + text(b"system") + text(b"x") + P.SETITEM
ATTACKS: dict[str, bytes] = {
    "a call": called(SYSTEM, text(MARK)),
    "a call of python 2": called(named(b"__builtin__", b"eval"), text(b"1")),
    "the way to a function": called(named(b"builtins", b"getattr"), named(b"argparse", b"Namespace"), text(b"x")),
    "a dotted name": called(stacked(b"torch.serialization", b"os.system"), text(MARK)),
    "a dotted name of a class": called(stacked(b"pathlib", b"Path.write_text"), text(b"x")),
    "a way out of a class": called(stacked(b"argparse", b"Namespace.__init__.__globals__"), text(b"x")),
    "an extension": P.EXT1 + b"\x01",
    "a process as an object": named(b"subprocess", b"Popen") + text(MARK) + P.TUPLE1 + P.NEWOBJ,
    "a process with keywords": named(b"subprocess", b"Popen") + P.EMPTY_TUPLE + P.EMPTY_DICT + P.NEWOBJ_EX,
    "a class of protocol 0": P.MARK + text(MARK) + P.INST + b"os\nsystem\n",
    "a class of protocol 1": P.MARK + SYSTEM + text(MARK) + P.OBJ,
    "a state that is called": called(named(b"functools", b"partial"), SYSTEM, text(MARK)),
    "another place": text(b"/etc/passwd") + P.BINPERSID,
    "another place as text": P.PERSID + b"/etc/passwd\n",
    "a place of another kind": P.MARK + text(b"module") + SYSTEM + text(b"a") + text(b"b") + P.TUPLE + P.BINPERSID,
    "a change of a class": NAMESPACE + STATE + P.BUILD,
    "a change of a rebuilder": named(b"torch._utils", b"_rebuild_tensor_v2") + STATE + P.BUILD,
    "a call of what was made": called(called(NAMESPACE), text(MARK)),
    "a call of a number": called(P.BININT1 + b"\x01", text(MARK)),
    "the loader itself": called(named(b"torch", b"load"), text(b"x.pt")),
    "another hub": called(named(b"torch.hub", b"load"), text(b"a/b"), text(b"c")),
    "a loader of numpy": called(named(b"numpy", b"load"), text(b"x")),
    "a helper of numpy": called(named(b"numpy.testing._private.utils", b"runstring"), text(b"1"), P.EMPTY_DICT),
    "an installer": called(named(b"pip", b"main"), text(b"install")),
    "a browser": called(named(b"webbrowser", b"open"), text(b"http://localhost")),
    "a terminal": called(named(b"pty", b"spawn"), text(b"sh")),
    "an importer": called(named(b"importlib", b"import_module"), text(b"this")),
    "code": named(b"types", b"CodeType"),
    "a second pickle": called(named(b"pickle", b"loads"), text(b"x")),
    "a timer": called(named(b"timeit", b"timeit"), text(b"1")),
    "a method by name": called(named(b"operator", b"methodcaller"), text(b"system")),
    "a trainer's own shell": called(named(b"trainer.tools", b"os.system"), text(MARK)),
}


def write_hostile(path: Path, attack: bytes, *, is_zip: bool) -> None:
    """Write a file in which the attack stands in the place of a tensor."""
    torch.save({"x": torch.zeros(3)}, path, _use_new_zipfile_serialization=is_zip)
    program = P.PROTO + b"\x04" + P.EMPTY_DICT + text(b"x") + attack + P.SETITEM + P.STOP
    if not is_zip:
        head = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
        path.write_bytes(head + program + pickle.dumps([], 2))
        return
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name, content in parts.items():
            new.writestr(name, program if name.endswith("data.pkl") else content)


def main(paths: list[str]) -> None:
    """Read files and tell of each what came of it."""
    events: list[str] = []
    told: list[str] = []  # the present file alone may be opened

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        is_own = event == "open" and str(arguments[0]) in told
        if told and (event.startswith(WATCHED) or (event == "open" and not is_own)):
            events.append(f"{event} {str(arguments[:1])[:80]}")

    torch.save({"x": torch.zeros(1)}, f"{paths[0]}.first")
    for first in (f"{paths[0]}.first", *paths[:2]):  # what torch imports at its first call is imported now
        read(first)
    sys.addaudithook(watch)
    for path in paths:
        events.clear()
        told[:] = [path]
        words = read(path)
        told.clear()
        print(json.dumps([words, events]))


def read(path: str) -> str:
    """What the child of a conversion says of a file."""
    try:
        unpickle(Path(path), Path(f"{path}.out"))
    except PickleRefused as error:
        return str(error)
    return "taken"


if __name__ == "__main__":
    main(sys.argv[1:])
