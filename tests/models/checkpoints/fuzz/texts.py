"""Damage to JSON: values of every type in the place of others, keys removed, renamed and twice, text that is none."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

MARK = "\N{SNOWMAN}"  # stands in a tree for text that no JSON tree holds
RAW = (
    "NaN", "-Infinity", "1e999", "1e-999", "-0", "01", "9" * 5000, "[" * 100_000, '{"a":' * 50_000,
    "[" * 900 + "]" * 900, '"\\ud800"', '"\\u0000"', '"\\u001b[31m"', '1,"dtype":"F64"', '[],"shape":[1]', '{},"x":{}',
    "", "/**/0", "1e5", "2.0", "10" * 20, "\ufeff", "'x'",
)
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 4, 7, 8, 2**31, 2**63, 2**64, 10**30, 0.5, -1.0, 1e308, "", "F16", "F8_E4M3",
    "x" * 9999, "../../../etc/passwd", "auto_map", "os:system", "a\nb\x1b[31m\u202e", [], [0], [-1], [1] * 5000,
    [2**62, 2, 2], {}, {"a": []}, [[]], MARK, "2", "1.0", "cpu",
)
NAMES = ("auto_map", "x", "", "__class__", "\x00", "y" * 3000, "custom_pipeline", "_x", "a b\n", "num_heads", "shape")


def spoilt(rng: Random, text: str) -> str:
    """A JSON text with one to three of its values replaced, removed, renamed or nested; it may be JSON no more."""
    tree = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        spot, key = rng.choice(_spots(tree))
        if key not in (spot if isinstance(spot, dict) else range(len(spot))):
            continue  # it went with an earlier change
        match rng.choice(["replace", "replace", "replace", "remove", "rename", "nest", "alike"]):
            case "rename" if isinstance(spot, dict):
                spot[rng.choice(NAMES)] = spot.pop(key)
            case "remove":
                del spot[key]
            case "nest":
                spot[key] = rng.choice([[spot[key]], {"": spot[key]}, {str(key): spot[key]}])
            case "alike":
                spot[key] = _alike(rng, spot[key])
            case _:
                spot[key] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(tree).replace(json.dumps(MARK), rng.choice(RAW))


def _alike(rng: Random, value: Any) -> Any:
    """Another value of the same type, or the same in another type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, -value, value * 2, float(value), str(value), value << 40])
    if isinstance(value, float):
        return rng.choice([value * 2, -value, value * 1e300, int(value), str(value)])
    return value[:-1] if isinstance(value, str | list) else str(value)


def _spots(tree: Any) -> list[tuple[Any, Any]]:
    """Every place of a JSON tree: (container, key)."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    below = [spot for _, value in pairs for spot in _spots(value)] if pairs else []
    return [(tree, key) for key, _ in pairs] + [spot for spot in below if spot != ({}, "")] or [({}, "")]
