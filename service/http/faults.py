"""What is wrong with the fields of a request's body, in words for whoever sent it.

Of what was sent numbers alone are repeated; of a field that does not exist the name that it is nearest to is told.
Knows what pydantic finds in a body of a schema; knows no model.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from dit_serve.service.errors import FieldError
from dit_serve.service.http.schemas import GenerateRequest, spellings

UNKNOWN = "(unknown)"
MAX_COMPARED = 20  # unknown names for which a near one is looked up, and the most characters of one
NEAR = 0.65  # of difflib's likeness, 0 to 1
_EXPECTED = {
    "int_type": "a whole number", "float_type": "a number", "string_type": "a text in quotes", "list_type": "a list",
}  # fmt: skip
_SENT = {bool: "true or false", str: "a text in quotes", type(None): "null", list: "a list", dict: "an object"}


class Members(dict[str, Any]):
    """A JSON object, and the names that it has more than once: nobody could say which of their values is meant."""

    def __init__(self, pairs: Sequence[tuple[str, Any]] = ()) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(pairs) > len(self) else {}
        self.repeated = [name for name, times in counts.items() if times > 1]


def read_members(body: bytes) -> Members:
    """The JSON object in a body, and those in it, as `Members`; an empty one where there is none."""
    try:
        members = json.loads(body, object_pairs_hook=Members, strict=False)
    except ValueError:  # JSON has dialects, and this one is read by another parser alone
        return Members()
    return members if isinstance(members, Members) else Members()


def repeated_fields(members: Members, kind: type[BaseModel] = GenerateRequest) -> list[FieldError]:
    """The fields of a kind of request that an object has more than once."""
    known = {name for names in _spellings(kind) for name in names}
    return [FieldError(name, "is given more than once") for name in members.repeated if name in known]


def field_errors(
    faults: Sequence[Mapping[str, Any]], kind: type[BaseModel] = GenerateRequest, most_compared: int = MAX_COMPARED
) -> list[FieldError]:
    """One for each wrong field, from what pydantic says of them; all fields of other names are one.

    Args:
        faults: as pydantic tells them.
        kind: of request.
        most_compared: unknown names for which a near one is looked up.
    """
    errors, foreign = dict[FieldError, None](), list[str]()
    for fault in faults:
        field = str(fault["loc"][0])
        if fault["type"] != "extra_forbidden":
            errors[FieldError(field, _message(fault))] = None
        elif first := _first_spelling(field, kind):
            errors[FieldError(field, f"is another spelling of {first}, which is given too: give one of them")] = None
        else:
            foreign.append(field)
    return [*errors, *([_unknown(foreign, kind, most_compared)] if foreign else [])]


def short(number: float) -> str:
    """A number, cut if it is long; what is none, or too large for one, in words."""
    if isinstance(number, float) and not math.isfinite(number):
        return "not a number" if math.isnan(number) else "beyond 1.8e308" if number > 0 else "below -1.8e308"
    text = str(number)
    return text if len(text) <= 24 else f"{text[:20]}… ({len(text)} digits)"


def _message(fault: Mapping[str, Any]) -> str:
    sent, expected = fault["input"], _EXPECTED.get(fault["type"])
    if type(sent) in (int, float):
        message = f"must be {expected}" if expected else _in_words(fault)
        return f"is {short(sent)}; {message}"
    return f"must be {expected}, not {_SENT.get(type(sent), 'this')}" if expected else _in_words(fault)


def _in_words(fault: Mapping[str, Any]) -> str:
    return re.sub("^(Input|String) should", "must", str(fault["msg"]))


def _unknown(names: Sequence[str], kind: type[BaseModel], most_compared: int) -> FieldError:
    """What is said of fields of other names, however many: which ones may have been meant."""
    allowed = [name for each in _spellings(kind) for name in each]
    plain = {name.replace("_", ""): name for name in allowed}
    near: dict[str, None] = {}
    for name in names[:most_compared]:
        written = re.sub("[^a-z]", "", name[:MAX_COMPARED].lower())
        near |= {plain[each]: None for each in difflib.get_close_matches(written, plain, n=1, cutoff=NEAR)}
    what = "there is a field of another name" if len(names) == 1 else f"there are {len(names)} fields of other names"
    meant = f"; did you mean {', '.join(near)}?" if near else ";"
    return FieldError(UNKNOWN, f"{what}{meant} allowed are {', '.join(map(' or '.join, _spellings(kind)))}")


def _first_spelling(field: str, kind: type[BaseModel]) -> str:
    """The documented name of what has this other spelling; empty if nothing has."""
    return next((first for first, *others in _spellings(kind) if field in others), "")


def _spellings(kind: type[BaseModel]) -> list[tuple[str, ...]]:
    return [spellings(name, info) for name, info in kind.model_fields.items()]
