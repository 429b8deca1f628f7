"""What OpenAPI says about answers that the framework cannot see, because we write them ourselves."""

from __future__ import annotations

from typing import Any

from service.errors import problem_table
from service.schemas import ProblemDocument

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """The documentation of these statuses as application/problem+json."""
    titles: dict[int, list[str]] = {}
    for kind in problem_table().values():
        titles.setdefault(kind.status, []).append(kind.title)
    content = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}
    documented: Responses = {
        status: {"description": " / ".join(dict.fromkeys(titles[status])), "content": content} for status in statuses
    }
    for status in {429, 503} & set(statuses):
        header = {"schema": {"type": "integer"}, "description": "Seconds after which a new try may succeed."}
        documented[status]["headers"] = {"Retry-After": header}
    return documented
