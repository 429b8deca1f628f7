"""Same request, same bytes (contract): alone, in any batch, beside neighbours that leave, after a crash, on any worker.

Everything goes through HTTP to real models. What is compared is the whole PNG, so that pixels and receipt are equal.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.running import PATIENCE_SECONDS, Running, running
from tests.service.test_whole_path import serve_command

Body = dict[str, Any]
MIXED, DEMO, CRASHED, SPREAD = 360, 60, 50, 50  # images compared; together more than the 500 that were promised
CLIENTS = 14


def random_bodies(count: int) -> list[Body]:
    """Requests that differ in everything that a request can differ in."""
    source = random.SystemRandom()
    return [
        {
            "class_id": source.randrange(10),
            "seed": source.randrange(2**63),
            "steps": source.randint(1, 9),
            "cfg": source.choice([1, 1.5, 4, 7.25]),
            "sampler": source.choice(["ddim", "ddpm", "dpm++"]),
        }
        for _ in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and the bytes that it gave when nothing else was being made."""

    body: Body
    png: bytes


def alone(server: Running, bodies: list[Body]) -> list[Asked]:
    with server.client() as client:
        return [Asked(body, generate(client, body)) for body in bodies]


def generate(client: httpx.Client, body: Body) -> bytes:
    response = client.post("/generate", json=body)
    assert response.status_code == 200, response.text
    return response.content


def together(server: Running, asked: list[Asked], leavers: list[Body]) -> list[Asked]:
    """Those that gave other bytes when they were sent by many clients at once, beside clients that leave."""
    mixed: list[Asked | Body] = [*asked, *leavers]
    random.SystemRandom().shuffle(mixed)

    def act(each: Asked | Body) -> Asked | None:
        if isinstance(each, Asked):
            return None if generate(client, each.body) == each.png else each
        leave(server, each)
        return None

    with server.client() as client, ThreadPoolExecutor(CLIENTS) as pool:
        return [each for each in pool.map(act, mixed) if each is not None]


def leave(server: Running, body: Body) -> None:
    """Sends a request and goes away without an answer."""
    content = json.dumps(body).encode()
    head = b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), PATIENCE_SECONDS) as connection:
        connection.sendall(head % len(content) + content)
        with server.client() as client:
            client.get("/livez")  # the server has read the request by then, or is about to


@pytest.fixture(scope="module")
def server(random_folder: Path) -> Iterator[Running]:
    with running(serve_command(random_folder)) as server:
        yield server


@pytest.fixture(scope="module")
def asked(server: Running) -> list[Asked]:
    return alone(server, random_bodies(MIXED))


def test_an_image_is_the_same_alone_and_in_a_random_mix(server: Running, asked: list[Asked]) -> None:
    leavers = [{**body, "steps": 200} for body in random_bodies(MIXED // 10)]
    assert together(server, asked, leavers) == []


def test_an_image_of_the_demo_is_the_same_alone_and_in_a_random_mix() -> None:
    with running(serve_command("digits-64")) as server:
        asked = alone(server, random_bodies(DEMO))
        assert together(server, asked, [{**body, "steps": 50} for body in random_bodies(DEMO // 10)]) == []


def test_an_image_is_the_same_after_its_worker_was_killed(random_folder: Path, asked: list[Asked]) -> None:
    with (
        running(serve_command(random_folder, "--log-level", "debug")) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        different = pool.submit(together, server, asked[:CRASHED], [])
        for _ in range(CRASHED // 3):
            server.wait_for_event("job_started")
        os.kill(server.worker_pid, signal.SIGKILL)
        assert different.result(PATIENCE_SECONDS) == []
        server.wait_for_event("worker_ended")


def test_an_image_is_the_same_on_either_of_two_workers(random_folder: Path, asked: list[Asked]) -> None:
    with running(serve_command(random_folder, "--devices", "cpu,cpu")) as server:
        server.wait_until_ready()
        assert together(server, asked[-SPREAD:], []) == []
        assert {server.wait_for_event("job_end")["worker"] for _ in range(SPREAD)} == {0, 1}


def test_enough_images_are_compared() -> None:
    assert MIXED + DEMO + CRASHED + SPREAD >= 500
