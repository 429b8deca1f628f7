"""What OpenAPI says about answers that the framework cannot see, because we write them ourselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dit_serve.service.errors import Problem
from dit_serve.service.http.middleware import PROBES
from dit_serve.service.http.schemas import CompletedEvent, ProblemDocument

Responses = dict[int | str, dict[str, Any]]


def problems(*statuses: int) -> Responses:
    """The documentation of these statuses as application/problem+json."""
    titles: dict[int, list[str]] = {}
    for kind in Problem.__subclasses__():
        titles.setdefault(kind.status, []).append(kind.title)
    content = {"application/problem+json": {"schema": ProblemDocument.model_json_schema()}}
    documented: Responses = {
        status: {"description": " / ".join(dict.fromkeys(titles[status])), "content": content} for status in statuses
    }
    for status in {429, 503} & set(statuses):
        documented[status]["headers"] = {"Retry-After": _told("Seconds"), "Retry-After-Ms": _told("Milliseconds")}
    return documented


def documented_events() -> dict[str, Any]:
    """The documentation of a stream: its events by name, with the data of each (OpenAPI 3.2, section 4.14.4)."""
    number, count, text = {"type": "number"}, {"type": "integer"}, {"type": "string"}
    step = {"index": count, "step": count}
    data = {
        "queued": _data(request_id=text, position=count, eta_seconds=number),
        "progress": _data(**step, steps=count, eta_seconds=number),
        "preview": _data(**step, b64_png=text),
        "completed": CompletedEvent.model_json_schema(),
        "failed": ProblemDocument.model_json_schema(),
    }
    events = [
        _data(event={"const": name}, data={**text, "contentMediaType": "application/json", "contentSchema": schema})
        for name, schema in data.items()
    ]
    return {"itemSchema": {"oneOf": events}}


def with_keys(describe: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """A description of the API that says that a key is needed, for all operations but the probes."""

    def described() -> dict[str, Any]:
        document = describe()
        schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
        schemes["key"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
        document.setdefault("components", {})["securitySchemes"] = schemes
        document["security"] = [{name: []} for name in schemes]
        for path in PROBES:
            document["paths"][path]["get"]["security"] = []
        return document

    return described


def _data(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _told(unit: str) -> dict[str, Any]:
    description = f"{unit} after which a new try may succeed, rounded up."
    return {"schema": {"type": "integer", "minimum": 1}, "description": description}
