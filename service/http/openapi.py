"""What OpenAPI says about answers that the framework cannot see, because we write them ourselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from dit_serve.service.errors import InvalidRequest, Problem
from dit_serve.service.http.batch_schemas import BATCH_STREAM
from dit_serve.service.http.middleware import PROBES
from dit_serve.service.http.openai.schemas import IMAGES_STREAM
from dit_serve.service.http.prefix import PER_PREFIX, prefix_of
from dit_serve.service.http.schemas import STREAM, ProblemDocument, TextProblem

Responses = dict[int | str, dict[str, Any]]

VERSION = "3.2.0"  # the first one that can describe a stream of events (`itemSchema`)
OPEN_DOCUMENTS = ("/",)  # open without a key, beside the probes: it says where things are, as this description does
_SCHEMAS = "#/components/schemas/{model}"


def problems(*statuses: int, document: type[BaseModel] = ProblemDocument) -> Responses:
    """The documentation of these statuses as application/problem+json, of this kind of document."""
    titles: dict[int, list[str]] = {}
    for kind in Problem.__subclasses__():
        titles.setdefault(kind.status, []).append(kind.title)
    if 422 not in statuses:  # of a protocol that has 400 in its place
        titles[400].append(InvalidRequest.title)
    content = {"application/problem+json": {"schema": _reference(document)}}
    documented: Responses = {
        status: {"description": " / ".join(dict.fromkeys(titles[status])), "content": content} for status in statuses
    }
    for status in {429, 503} & set(statuses):
        documented[status]["headers"] = {"Retry-After": _told("Seconds"), "Retry-After-Ms": _told("Milliseconds")}
    return documented


def documented_events(stream: Mapping[str, type]) -> dict[str, Any]:
    """The documentation of a stream: its events by name, with the data of each (OpenAPI 3.2, section 4.14.4)."""
    events = []
    for name, kind in stream.items():
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": _reference(kind)}
        properties = {"event": {"const": name}, "data": data}
        events.append({"type": "object", "properties": properties, "required": list(properties)})
    return {"itemSchema": {"oneOf": events}}


def completed(describe: Callable[[], dict[str, Any]], *, has_keys: bool) -> Callable[[], dict[str, Any]]:
    """A description of the API with the schemas that `problems` and `documented_events` refer to.

    With keys it says that one is needed, for all operations but those that are open.
    """

    @cache  # it takes milliseconds to make, and anybody may ask for it
    def described() -> dict[str, Any]:
        document = describe()
        components = document.setdefault("components", {})
        events = (*STREAM.values(), *BATCH_STREAM.values(), *IMAGES_STREAM.values())
        kinds = dict.fromkeys([*events, ProblemDocument, TextProblem])
        adapters: list[Any] = [(kind, "serialization", TypeAdapter(kind)) for kind in kinds]
        _, schemas = TypeAdapter.json_schemas(adapters, ref_template=_SCHEMAS)
        components["schemas"] = {**schemas["$defs"], **components.get("schemas", {})}
        if has_keys:
            schemes = {"bearer": {"type": "http", "scheme": "bearer"}}
            schemes["key"] = {"type": "apiKey", "in": "header", "name": "X-API-Key"}
            components["securitySchemes"] = schemes
            document["security"] = [{name: []} for name in schemes]
            for path in (*PROBES, *OPEN_DOCUMENTS):
                document["paths"][path]["get"]["security"] = []
        return document

    return described


def description_route(path: str, describe: Callable[[], dict[str, Any]]) -> Route:
    """The route of the description, which says under which path the client sees the service.

    Args:
        path: where it is to be had.
        describe: makes it.
    """

    async def description(request: Request) -> JSONResponse:
        prefix = prefix_of(request)
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return JSONResponse({**describe(), **servers}, headers=PER_PREFIX)

    return Route(path, description, methods=["GET"], include_in_schema=False)


def _reference(kind: type) -> dict[str, str]:
    return {"$ref": _SCHEMAS.format(model=kind.__name__)}


def _told(unit: str) -> dict[str, Any]:
    description = f"{unit} after which a new try may succeed, rounded up."
    return {"schema": {"type": "integer", "minimum": 1}, "description": description}
