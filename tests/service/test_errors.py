"""The tree of errors and its table."""

from __future__ import annotations

import re
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
    problem_body,
    problem_table,
)


def descendants(root: type[Exception]) -> Iterator[type[Exception]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_problem_has_its_row_and_every_row_its_problem() -> None:
    assert set(problem_table()) == set(descendants(Problem))


def test_every_error_is_met_by_a_client_or_by_an_operator() -> None:
    for kind in descendants(ServiceError):
        assert kind in (Problem, LocalError) or issubclass(kind, (Problem, LocalError))


def test_the_docstring_draws_the_whole_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(kind.__name__ for kind in descendants(ServiceError))


def test_every_error_of_the_module_is_in_the_tree() -> None:
    own = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert own == {ServiceError, *descendants(ServiceError)}


def test_slugs_are_distinct() -> None:
    slugs = [kind.slug for kind in problem_table().values()]
    assert len(set(slugs)) == len(slugs)


@pytest.mark.parametrize("kind", list(problem_table()))
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
