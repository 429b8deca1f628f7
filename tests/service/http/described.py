"""What GET /v1/models says, put into the description of the API: a body that it allows must then be taken.

The description holds for any models, so it cannot say which classes, sizes or names there are. A test that knows them
narrows it, and has a description that is exact: what it allows is served, what it forbids is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

Schema = dict[str, Any]


def narrowed(document: Schema, narrow: Mapping[str, Schema]) -> Schema:
    """The description, in which each field and parameter of these names has these keywords besides.

    A name may stand alone, or behind the path whose field alone is meant, as in `/v2/models/{name} name`.

    Raises:
        KeyError: no field or parameter is called so.
    """
    met: set[str] = set()
    for path, item in document["paths"].items():
        for name, schema in _named(item):
            for key in {name, f"{path} {name}"} & narrow.keys():
                met.add(key)
                _narrow(schema, narrow[key])
    if missing := narrow.keys() - met:
        raise KeyError(f"nothing is called {sorted(missing)}")
    return document


def without(document: Schema, names: Collection[str]) -> Schema:
    """The description without the fields and parameters of these names, which may stand behind a path.

    And without bodies that are bytes, of which no schema can say anything.
    """

    def stays(path: str, name: str) -> bool:
        return name not in names and f"{path} {name}" not in names

    for path, item in document["paths"].items():
        for kind in _bodies(item):
            kind["properties"] = {name: each for name, each in kind["properties"].items() if stays(path, name)}
        for operation in item.values():
            operation.get("requestBody", {"content": {}})["content"].pop("application/octet-stream", None)
            told = operation.get("parameters", [])
            operation["parameters"] = [each for each in told if stays(path, each["name"])]
    return document


def operations(document: Schema) -> list[tuple[str, str]]:
    """Method and path of everything that the description has."""
    return [(method.upper(), path) for path, item in document["paths"].items() for method in item]


def is_made_late(document: Schema, method: str, path: str) -> bool:
    """Whether an operation may be late, by what is said of it."""
    return "504" in document["paths"][path][method.lower()]["responses"]


def _bodies(node: Any) -> Iterator[Schema]:
    """All schemas of objects that are asked with."""
    for name, each in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if name not in ("responses", "examples"):
            yield from _bodies(each)
    if isinstance(node, dict) and isinstance(node.get("properties"), dict) and "additionalProperties" in node:
        yield node


def _named(node: Any) -> Iterator[tuple[str, Schema]]:
    """Names and schemas of all fields of bodies and of all parameters."""
    if isinstance(node, list):
        for each in node:
            yield from _named(each)
    if not isinstance(node, dict):
        return
    if "in" in node and isinstance(node.get("schema"), dict):
        yield node["name"], node["schema"]
    if isinstance(node.get("properties"), dict):
        yield from ((name, schema) for name, schema in node["properties"].items() if isinstance(schema, dict))
    for name, each in node.items():
        if name not in ("responses", "examples"):
            yield from _named(each)


def _narrow(schema: Schema, keywords: Schema) -> None:
    """Adds keywords to a schema, or puts an enumeration in its place; where null is allowed, null stays allowed."""
    for choice in schema.get("anyOf", [schema]):
        if choice.get("type") != "null":
            if "enum" in keywords:
                choice.clear()
            choice.update(keywords)
