"""From the URL of an image to a request: /v1/images/{model}/{class}/{seed}.png?cfg=4&steps=50&sampler=ddim&weights=…

What a URL says is text; it is read as strictly as the same values in the body of POST /generate, by the same schema,
and all faults are told at once. Knows URLs, and no front.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote

from pydantic_core import from_json

from dit_serve.service.errors import FieldError
from dit_serve.service.http.deadline import read_deadline
from dit_serve.service.http.faults import UNKNOWN, Members
from dit_serve.service.http.reading import Form, besides, read_object

PREFIX, SUFFIX = "/v1/images/", ".png"
NUMBERS = {  # of the query, each with what it must be
    "cfg": "a number", "guidance_scale": "a number", "steps": "a whole number", "num_inference_steps": "a whole number",
}  # fmt: skip
QUERY = (*NUMBERS, "sampler", "weights")
ALLOWED = "cfg or guidance_scale, steps or num_inference_steps, sampler, weights"
_WHOLE = re.compile(r"0|[1-9][0-9]{0,30}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")  # as JSON has them, not endless
_WEIGHTS = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True, slots=True)
class Link:
    """What the URL of an image says.

    Args:
        form: the request in it.
        weights: with what the SHA-256 of the model's weights has to begin; empty if any will do.
    """

    form: Form
    weights: str = ""


def read_link(path: str, raw_path: str, query: str, deadlines: Sequence[str] = ()) -> Link:
    """The request in a URL.

    Args:
        path: decoded, without what a proxy puts before it.
        raw_path: as it was sent, in which a slash of a name is told from one between two names.
        query: as it was sent.
        deadlines: every X-Deadline-Ms header.
    """
    sent = parse_qsl(query, keep_blank_values=True)
    text = dict(sent)
    faults = [*_name_faults([name for name, _ in sent])]
    called, file = map(unquote, raw_path.split("/")[-2:])
    values = {"model": path.removeprefix(PREFIX).removesuffix(f"/{called}/{file}")}
    values |= {"class_id": from_json(called)} if _WHOLE.fullmatch(called) else {"class": called}
    seed = file.removesuffix(SUFFIX)
    if _WHOLE.fullmatch(seed):
        values["seed"] = from_json(seed)
    else:
        faults.append(FieldError("seed", "must be a whole number, in digits alone, before .png"))
    for name in NUMBERS.keys() & text.keys():
        if _NUMBER.fullmatch(text[name]):
            values[name] = from_json(text[name])
        else:
            faults.append(FieldError(name, f"must be {NUMBERS[name]}"))
    if "sampler" in text:
        values["sampler"] = text["sampler"].replace(" ", "+")  # a plus in a query is a space: dpm++ is written as it is
    if "weights" in text and not _WEIGHTS.fullmatch(text["weights"]):
        of = "the first 8 to 64 digits, in small letters, of a model's weights_sha256 (GET /v1/models)"
        faults.append(FieldError("weights", f"must be {of}"))
    form = read_object(values, Members(), 0)
    deadline_ms, wrong_deadline = read_deadline(deadlines)
    faults += wrong_deadline
    form = replace(form, deadline_ms=deadline_ms, faults=(*faults, *besides(faults, form.faults)))
    return Link(form, text.get("weights", ""))


def _name_faults(names: Sequence[str]) -> Iterator[FieldError]:
    """What is wrong with the parameters, whatever their values."""
    for name, times in Counter(names).items():
        if name in QUERY and times > 1:
            yield FieldError(name, "is given more than once")
    if foreign := [name for name in names if name not in QUERY]:
        what = "there is a parameter" if len(foreign) == 1 else f"there are {len(foreign)} parameters"
        yield FieldError(UNKNOWN, f"{what} of another name; allowed are {ALLOWED}")
