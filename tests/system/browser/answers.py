"""What the service says to another client: the picture of a request, and whether anything is under way."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx

from tests.service.running import PATIENCE_SECONDS, Running


def generated(server: Running, asked: dict[str, Any]) -> bytes:
    """The PNG of POST /generate."""
    answer = httpx.post(f"{server.url}/generate", json=asked, timeout=PATIENCE_SECONDS, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


def all_generated(server: Running, wanted: Iterable[dict[str, Any]]) -> list[bytes]:
    """The PNGs of several requests, each asked for by itself, at once."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(partial(generated, server), wanted))


def status(server: Running) -> dict[str, Any]:
    """What GET /v1/status tells."""
    answer: dict[str, Any] = httpx.get(f"{server.url}/v1/status", trust_env=False).raise_for_status().json()
    return answer


def places_are_free(server: Running) -> bool:
    """Whether nothing is accepted that is not finished."""
    return bool(status(server)["queue"]["places_taken"] == 0)
