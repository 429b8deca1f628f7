"""Which answers a request may have by what /openapi.json says of its path, and in which form an error comes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.service.asgi import Answer
from tests.service.http.hostile import Hostile

UNDESCRIBED = frozenset({200, 304, 404, 405})  # pages and what they load, which the description leaves out
MOST_ERROR_BYTES = 4096
INSIDE = re.compile(r"Traceback|File \"|\.py\b|/(?:home|root|usr|opt|tmp|var|etc|work|app)/")  # what nobody is told


@dataclass(frozen=True, slots=True)
class _Path:
    """One path of a description."""

    template: str
    pattern: re.Pattern[str]
    letters: int  # of its own, beside its parameters
    statuses: Mapping[str, frozenset[int]]  # by method


class Documented:
    """The statuses of every operation of a description.

    Where several paths fit, the one with the most letters of its own is meant.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        paths = [_path(template, item) for template, item in document["paths"].items()]
        self._paths = sorted(paths, key=lambda path: path.letters, reverse=True)

    def statuses(self, method: str, path: str) -> frozenset[int]:
        """The statuses that a method of a path may have; HEAD has those of GET, and what is nowhere is 404."""
        asked = "GET" if method == "HEAD" else method
        fitting = [each.statuses for each in self._paths if each.pattern.fullmatch(path)]
        missing = frozenset({404, 405}) if fitting else UNDESCRIBED
        return next((statuses[asked] for statuses in fitting if asked in statuses), missing)

    def operation(self, method: str, path: str) -> str:
        """The operation that a request is for; empty for none."""
        fitting = (each for each in self._paths if method in each.statuses and each.pattern.fullmatch(path))
        return next((f"{method} {each.template}" for each in fitting), "")

    @property
    def operations(self) -> set[str]:
        """Method and path of each operation."""
        return {f"{method} {each.template}" for each in self._paths for method in each.statuses}


def _path(template: str, item: Mapping[str, Any]) -> _Path:
    literals = [re.escape(part) for part in re.split(r"\{[^}]+\}", template)]
    pattern = re.compile(".*".join(literals), re.DOTALL)
    told = {method.upper(): operation["responses"] for method, operation in item.items()}
    statuses = {method: frozenset(map(int, responses)) for method, responses in told.items()}
    return _Path(template, pattern, len("".join(literals)), statuses)


def check(request: Hostile, answer: Answer, documented: Documented) -> None:
    """What holds for every answer, to whatever request."""
    path = unquote(request.path)
    assert answer.status in documented.statuses(request.method, path) - {500}, (request, answer)
    if request.method == "HEAD" or answer.status == 304:
        assert answer.body == b"", request
    elif answer.status >= 400:
        assert len(answer.body) < MOST_ERROR_BYTES, request
        error = json.loads(answer.body)
        if path == "/v2" or path.startswith("/v2/"):
            assert answer.headers["content-type"] == "application/json", (request, answer)
            assert list(error) == ["error"], (request, answer)
            assert isinstance(error["error"], str), (request, answer)
            assert error["error"], (request, answer)
        else:
            assert answer.headers["content-type"] == "application/problem+json", (request, answer)
            _check_problem(request, answer, error, path)
        assert not INSIDE.search(str(error)), (request, answer)
    elif answer.headers.get("content-type", "").startswith("text/event-stream"):
        assert re.search(rb"^event: (image_generation\.)?completed$", answer.body, re.MULTILINE), (request, answer)
        assert not re.search(rb"^event: (failed|error)$", answer.body, re.MULTILINE), (request, answer)


def _check_problem(request: Hostile, answer: Answer, error: Mapping[str, Any], path: str) -> None:
    assert error["status"] == answer.status, (request, answer)
    if path.startswith("/models/") or (path == "/" and request.method == "POST"):
        assert isinstance(error["error"], str), (request, answer)
    else:
        assert error["error"].keys() == {"message", "type", "param", "code"}, (request, answer)
        assert error["error"]["message"], (request, answer)
