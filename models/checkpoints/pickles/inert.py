"""What a pickle holds beside tensors, as data that does nothing: a name, and what was to be made of it.

An object of whatever class, a trainer's settings, an optimizer, a NumPy number, becomes an `Inert`: the class's name,
its arguments, its state. From it settings can be read (`scalars`); nothing is imported for it and nothing is called.

Knows no pickle (restricted_pickle.py) and no tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from dit_serve.models.checkpoints.wrappers import Scalar

_MOST_SCALARS = 256
_MOST_LOOKED_AT = 20_000  # entries of one level, of which a file may name the same ones again and again
_MOST_NAME, _MOST_TEXT = 64, 200
_CONTENTS = ("_content", "_fields", "__dict__")  # where OmegaConf, ml_collections and pydantic keep what one sees


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A class or function that a pickle names: the name, not the thing."""

    path: str


@dataclass(slots=True, eq=False, repr=False)
class Inert:
    """What a pickle would have made by calling `path`, or filled after.

    Attributes:
        path: of the class or function.
        args: what it was to be called with.
        states: what was to be its state, as the pickle has it.
        items: what was appended to it.
        pairs: what was set in it, as a dictionary.
    """

    path: str
    args: tuple[Any, ...] = ()
    states: list[Any] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)

    def attributes(self) -> dict[Any, Any]:
        """The state's entries, those that were set as in a dictionary among them."""
        result: dict[Any, Any] = {}
        for state in self.states:
            for part in state if type(state) is tuple and len(state) == 2 else (state,):
                result |= part if type(part) is dict else {}
        for name in _CONTENTS:
            inner = result.get(name)
            result |= inner if type(inner) is dict else {}
        return result | {key: value for key, value in self.pairs if type(key) is str}


def entries(value: object) -> Iterator[tuple[str, Any]]:
    """Yield name and value of what a dictionary, or an object with attributes, holds."""
    found = value if type(value) is dict else value.attributes() if isinstance(value, Inert) else {}
    return ((key if type(key) is str else str(key), each) for key, each in found.items() if type(key) in (str, int))


def scalars(roots: list[object]) -> dict[str, Scalar]:
    """Return the settings in a trainer's arguments and two levels below, by their last name.

    What stands further out, or in an earlier root, wins; a name that means two things at one level is left out. Only
    numbers and short text are settings, at most 256 of them.
    """
    result: dict[str, Scalar] = {}
    for root in roots:
        level: list[Any] = [root]
        for _ in range(3):
            here: dict[str, set[Scalar]] = {}
            order: dict[str, Scalar] = {}
            below: list[Any] = []
            for name, value in islice((pair for each in level for pair in entries(each)), _MOST_LOOKED_AT):
                simple = _scalar(value)
                if simple is None:
                    below.append(value)
                elif name.isprintable() and len(name) <= _MOST_NAME:
                    here.setdefault(name, set()).add(simple)
                    order.setdefault(name, simple)
            result = {name: value for name, value in order.items() if len(here[name]) == 1} | result
            level = below[:_MOST_SCALARS]
    return dict(list(result.items())[-_MOST_SCALARS:])


def _scalar(value: object) -> Scalar | None:
    """A number or short text, also as a node of OmegaConf or a member of an enumeration has it; None for all else."""
    if isinstance(value, Inert):
        inside = value.attributes().get("_val")
        value = inside if inside is not None else value.args[0] if len(value.args) == 1 else None
    if type(value) is str:
        return value if len(value) <= _MOST_TEXT and value.isprintable() else None
    if type(value) is int:
        return value if abs(value) < 1 << 63 else None
    if type(value) is float:
        return value if math.isfinite(value) else None
    return value if type(value) is bool else None
