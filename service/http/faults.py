"""What is wrong with the fields of a request's body, in words for whoever sent it.

Of what was sent numbers alone are repeated; of a field that does not exist the name that it is nearest to is told.
Knows the schema and what pydantic finds; knows no model.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dit_serve.service.errors import FieldError
from dit_serve.service.http.schemas import GenerateRequest, spellings

UNKNOWN = "(unknown)"
MAX_COMPARED = 20  # unknown names for which a near one is looked up, and the most characters of one
NEAR = 0.65  # of difflib's likeness, 0 to 1
_EXPECTED = {"int_type": "a whole number", "float_type": "a number", "string_type": "a text in quotes"}
_SENT = {bool: "true or false", str: "a text in quotes", type(None): "null", list: "a list", dict: "an object"}


def field_errors(faults: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """One for each wrong field, from what pydantic says of them; all fields of other names are one."""
    errors, foreign = dict[FieldError, None](), list[str]()
    for fault in faults:
        field = str(fault["loc"][0])
        if fault["type"] != "extra_forbidden":
            errors[FieldError(field, _message(fault))] = None
        elif first := _first_spelling(field):
            errors[FieldError(field, f"is another spelling of {first}, which is given too: give one of them")] = None
        else:
            foreign.append(field)
    return [*errors, *([_unknown(foreign)] if foreign else [])]


def repeated_fields(body: bytes) -> list[FieldError]:
    """The fields that a body, which is a JSON object, has more than once: nobody could say which is meant."""
    counts: Counter[str] = Counter()

    def count(pairs: list[tuple[str, Any]]) -> None:
        counts.clear()  # the outermost object comes last
        counts.update(name for name, _ in pairs)

    try:
        json.loads(body, object_pairs_hook=count, strict=False)
    except ValueError:  # JSON has dialects, and this one is read by another parser alone
        return []
    known = {name for names in _spellings() for name in names}
    repeated = [name for name, times in counts.items() if times > 1 and name in known]
    return [FieldError(name, "is given more than once") for name in repeated]


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


def _unknown(names: Sequence[str]) -> FieldError:
    """What is said of fields of other names, however many: which ones may have been meant."""
    allowed = [name for each in _spellings() for name in each]
    plain = {name.replace("_", ""): name for name in allowed}
    near: dict[str, None] = {}
    for name in names[:MAX_COMPARED]:
        written = re.sub("[^a-z]", "", name[:MAX_COMPARED].lower())
        near |= {plain[each]: None for each in difflib.get_close_matches(written, plain, n=1, cutoff=NEAR)}
    what = "there is a field of another name" if len(names) == 1 else f"there are {len(names)} fields of other names"
    meant = f"; did you mean {', '.join(near)}?" if near else ";"
    return FieldError(UNKNOWN, f"{what}{meant} allowed are {', '.join(map(' or '.join, _spellings()))}")


def _first_spelling(field: str) -> str:
    """The documented name of what has this other spelling; empty if nothing has."""
    return next((first for first, *others in _spellings() if field in others), "")


def _spellings() -> list[tuple[str, ...]]:
    return [spellings(name, info) for name, info in GenerateRequest.model_fields.items()]
