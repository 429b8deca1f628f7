"""Plain numbers of what a caller has them in: Python's own, numpy's scalars, tensors of no dimension, on a card too.

Needs none of these libraries: it asks for what the language has for it, `__index__` and `__float__`. A truth value is
no number, and text is none.
"""

from __future__ import annotations

import operator
from typing import Any

_MAX_EXACT_FLOAT = 2**53  # below it every integer is a float of its own (IEEE 754 binary64)
_LONGEST = 24  # characters of a value that is repeated in full
_REFUSALS = (TypeError, ValueError, ArithmeticError, RuntimeError)  # the last one is a tensor's without storage


def whole(value: Any) -> int:
    """The value as an int; of a float, where it is whole and so small that no other integer is the same float.

    Raises:
        ValueError: it is no whole number.
    """
    try:
        if _is_scalar(value) and hasattr(value, "__index__") and "float" not in str(getattr(value, "dtype", "")):
            return operator.index(value)
        if (number := real(value)).is_integer() and abs(number) < _MAX_EXACT_FLOAT:
            return int(number)
    except _REFUSALS as error:
        raise ValueError(f"is {shown(value)}; must be a valid integer") from error
    raise ValueError(f"is {shown(value)}; must be a valid integer")


def real(value: Any) -> float:
    """The value as a float; it may be infinite or NaN.

    Raises:
        ValueError: it is no number, or larger than any float.
    """
    try:
        if not _is_scalar(value) or isinstance(value, str | bytes | bytearray):
            raise TypeError
        return float(value)
    except _REFUSALS as error:
        raise ValueError(f"is {shown(value)}; must be a valid number") from error


def text(value: Any) -> str:
    """The value as a str, of numpy's text too.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}; must be a valid string")
    return str(value)


def shown(value: object) -> str:
    """The value for an error's text: on one line, and short."""
    try:
        words = repr(value) if isinstance(value, str) else str(value)
    except Exception:  # a number of more digits than Python writes, or whatever another's type raises
        return f"a {type(value).__name__} that cannot be written"
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    if len(words) <= _LONGEST:
        return words
    return f"{words[:20]}… ({len(words)} {'digits' if type(value) in (int, float) else 'characters'})"


def _is_scalar(value: Any) -> bool:
    """Whether a value has no dimension and is no truth value, whatever library it is of."""
    return type(value) is not bool and getattr(value, "ndim", 0) == 0 and "bool" not in str(getattr(value, "dtype", ""))
