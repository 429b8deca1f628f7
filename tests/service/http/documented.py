"""Which answers a request may have by what /openapi.json says of its path, and in which form an error comes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tests.service.asgi import Answer
from tests.service.http.hostile import Hostile

UNDESCRIBED = frozenset({200, 304, 404, 405})  # pages and what they load, which the description leaves out
MOST_ERROR_BYTES = 4096
INSIDE = re.compile(r"Traceback|File \"|\.py\b|/(?:home|root|usr|opt|tmp|var|etc|work|app)/")  # what nobody is told


class Documented:
    """The statuses of every operation of a description."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._paths: list[tuple[int, re.Pattern[str], str, dict[str, frozenset[int]]]] = []
        for template, item in document["paths"].items():
            literals = [re.escape(part) for part in re.split(r"\{[^}]+\}", template)]
            statuses = {
                method.upper(): frozenset(int(status) for status in operation["responses"])
                for method, operation in item.items()
            }
            self._paths.append((len("".join(literals)), re.compile(".*".join(literals), re.DOTALL), template, statuses))
        self._paths.sort(key=lambda each: each[0], reverse=True)

    def statuses(self, method: str, path: str) -> frozenset[int]:
        """The statuses that a method of a path may have; HEAD has those of GET, and no path is 404.

        Where several templates fit, the one with the most letters of its own is meant.
        """
        asked = "GET" if method == "HEAD" else method
        fitting = [statuses for _, pattern, _, statuses in self._paths if pattern.fullmatch(path)]
        for statuses in fitting:
            if asked in statuses:
                return statuses[asked]
        return frozenset({405, 404}) if fitting else UNDESCRIBED

    def operation(self, method: str, path: str) -> str:
        """The operation that a request is for; empty for none."""
        for _, pattern, template, statuses in self._paths:
            if method in statuses and pattern.fullmatch(path):
                return f"{method} {template}"
        return ""

    @property
    def operations(self) -> set[str]:
        return {f"{method} {template}" for _, _, template, statuses in self._paths for method in statuses}


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
