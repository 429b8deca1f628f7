"""The tree of errors: as drawn, and each leaf with all that its answer needs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from dit_serve.service import errors
from dit_serve.service.errors import (
    FieldError,
    InvalidRequest,
    LocalError,
    Problem,
    QueueFull,
    ServiceError,
)
from dit_serve.service.http.problems import problem_body


def descendants(root: type[Exception]) -> Iterator[type[Exception]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


PROBLEMS = list(descendants(Problem))


@pytest.mark.parametrize("kind", PROBLEMS)
def test_every_problem_has_a_status_a_title_and_a_slug_of_its_own(kind: type[Problem]) -> None:
    assert {"status", "title", "slug"} <= vars(kind).keys()
    assert 400 <= kind.status < 600
    assert kind.title
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug)


def test_every_error_is_met_by_a_client_or_by_an_operator() -> None:
    for kind in descendants(ServiceError):
        assert kind in (Problem, LocalError) or issubclass(kind, (Problem, LocalError))


def test_the_docstring_draws_the_tree() -> None:
    drawn, above = {}, {}
    for indent, name in re.findall(r"^    ([│ ]*)(?:[├└]── )?(\w+)(?:  |$)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4 + (name != "ServiceError")
        above[depth] = name
        drawn[name] = above.get(depth - 1)
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in descendants(ServiceError)}
    assert drawn == {"ServiceError": None, **real}


def test_every_error_of_the_module_is_in_the_tree() -> None:
    own = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert own == {ServiceError, *descendants(ServiceError)}


def test_slugs_are_distinct() -> None:
    assert max(Counter(kind.slug for kind in PROBLEMS).values()) == 1


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_problem_becomes_a_document(kind: type[Problem]) -> None:
    problem = InvalidRequest([FieldError("steps", "is 0")]) if kind is InvalidRequest else kind("why")
    body = problem_body(problem, "an-id")
    assert {"type", "title", "status", "detail", "request_id"} <= body.keys()
    assert body["request_id"] == "an-id"


def test_an_invalid_request_lists_its_fields() -> None:
    body = problem_body(InvalidRequest([FieldError("steps", "is 0"), FieldError("n", "is 99")]), "")
    assert body["errors"] == [{"field": "steps", "message": "is 0"}, {"field": "n", "message": "is 99"}]
    assert body["detail"] == "steps: is 0; n: is 99"


def test_queue_full_keeps_when_to_come_back() -> None:
    assert QueueFull("full", retry_after=3).retry_after == 3
