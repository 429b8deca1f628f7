"""Flags of a command made from the fields of a configuration dataclass, so that each is written down once.

A field without default becomes a required flag; what it means is its metadata's "help". Knows no configuration in
particular.
"""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dit_serve.models.options import expanded
from dit_serve.service.errors import CommandError

T = TypeVar("T")


def add_flags(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    """Adds one flag per field; a flag that is not given leaves the field's own default."""
    hints = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        flag = f"--{field.name.replace('_', '-')}"
        if hints[field.name] is bool:
            kind: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        elif typing.get_origin(hints[field.name]) is typing.Literal:
            kind = {"choices": typing.get_args(hints[field.name])}
        else:
            kind = {"type": _reader(hints[field.name]), "required": field.default is dataclasses.MISSING}
        parser.add_argument(flag, default=argparse.SUPPRESS, help=_help(field), **kind)


def read_config(config: type[T], options: argparse.Namespace) -> T:
    """The configuration from the flags given.

    Raises:
        CommandError: a value is not allowed.
    """
    names = {field.name for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    try:
        return config(**{name: value for name, value in vars(options).items() if name in names})
    except ValueError as error:
        raise CommandError(str(error)) from error


def _reader(hint: Any) -> Callable[[str], Any]:
    """What makes a value of this type from text: int, float, str, Path, T | None, or tuple[T, ...] with commas."""
    arguments = [each for each in typing.get_args(hint) if each not in (type(None), Ellipsis)]
    if isinstance(hint, types.UnionType):
        return _reader(arguments[0])
    if typing.get_origin(hint) is tuple:
        read = _reader(arguments[0])

        def comma_separated(text: str) -> tuple[Any, ...]:
            return tuple(read(part) for part in text.split(","))

        return comma_separated
    if hint is Path:
        return lambda text: Path(expanded(text))
    if hint in (int, float, str):
        return hint  # type: ignore[no-any-return]
    raise TypeError(f"no flag can be made for a field of type {hint}")


def _help(field: dataclasses.Field[Any]) -> str:
    sentence = field.metadata["help"].rstrip(".").replace("%", "%%")  # argparse formats help with %
    if field.default is dataclasses.MISSING:
        return f"{sentence}; required"
    if field.default is None:  # what that comes to, the sentence says
        return str(sentence)
    value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return f"{sentence}; default {value}"
