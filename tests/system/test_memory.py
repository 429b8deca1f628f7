"""Clients that start long jobs and leave, for two minutes, in the compose file's memory: nothing is killed.

Each job has another number of steps, so that nothing which was computed for one serves the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import yaml

from benchmarks.driving import ours
from benchmarks.load import NoAnswer, request_bytes, send
from benchmarks.soak.run import MODELS
from benchmarks.soak.scrape import scrape_when_idle
from tests.service.running import ROOT, Running, running
from tests.system.control_group import ControlGroup, NoControlGroup, control_group

pytestmark = pytest.mark.system
ATTACK_SECONDS = 120.0
STREAMS = 32  # of each model, left together
SIDES = (64, 128)
STAY_SECONDS = 1.5
IDLE_SECONDS = 20.0  # within which what abandoned work took is handed back
PACE_SECONDS, SETTLING_SECONDS = 0.5, 8.0
SETTLED, MOST_GROWTH = 0.01, 0.1
UNITS = {"m": 20, "g": 30}


@dataclass(slots=True)
class Attack:
    """What became of it."""

    left: int = 0  # streams
    innocent: Counter[int] = field(default_factory=Counter)  # statuses of who stays; 0 is no answer


def limit_of_the_compose_file() -> int:
    """The bytes that its service on the processor may take."""
    written = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["dit"]["mem_limit"]
    return int(written[:-1]) << UNITS[written[-1]]


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    """A control group of that size."""
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(control_group(limit_of_the_compose_file()))
        except NoControlGroup as error:
            pytest.skip(str(error))
        yield made


async def ask(port: int, accept: str, **body: object) -> int:
    """The status of the answer."""
    message = request_bytes("POST", "/generate", json.dumps(body).encode(), {"Accept": accept})
    try:
        return (await send(port, message)).status
    except NoAnswer:
        return 0


async def leave_early(port: int, number: int, side: int) -> None:
    """One stream of a long job, whose reader leaves."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STAY_SECONDS):
            steps = 1000 - number % 200
            await ask(port, "text/event-stream", class_id=number % 10, cfg=1, steps=steps, seed=number, resolution=side)


async def attack(server: Running, until: float) -> Attack:
    """Rounds of streams that are left together, beside one client that stays for each of its images."""
    found = Attack()

    async def stay() -> None:
        while time.monotonic() < until:
            found.innocent[await ask(server.port, "image/png", class_id=7, cfg=4, steps=20, seed=7)] += 1

    staying = asyncio.create_task(stay())
    for first in range(0, 10**9, STREAMS):
        if time.monotonic() >= until:
            break
        numbers = range(first, first + STREAMS)
        await asyncio.gather(*(leave_early(server.port, number, side) for number in numbers for side in SIDES))
        found.left += STREAMS * len(SIDES)
    await staying
    return found


async def settled_bytes(group: ControlGroup) -> int:
    """What the group holds once that no longer changes: work is over, and a process to replace a worker stands by."""
    before, now = 0, 1
    while abs(now - before) > SETTLED * now:
        await asyncio.sleep(SETTLING_SECONDS)
        before, now = now, group.anonymous_bytes
    return now


async def least_bytes_when_idle(group: ControlGroup) -> int:
    """The least that the group held while it had nothing to do."""
    least, until = group.anonymous_bytes, time.monotonic() + IDLE_SECONDS
    while time.monotonic() < until:
        await asyncio.sleep(PACE_SECONDS)
        least = min(least, group.anonymous_bytes)
    return least


async def warm_up(port: int) -> None:
    """Full batches of both models, of as many numbers of steps as there are images, none of which is left.

    What the libraries keep once they have seen such work is no work's that was abandoned.
    """
    asked = (
        ask(port, "image/png", class_id=number % 10, cfg=1, steps=20 + number, seed=number, resolution=side)
        for number in range(STREAMS)
        for side in SIDES
    )
    assert set(await asyncio.gather(*asked)) == {200}


async def measure(server: Running, group: ControlGroup) -> tuple[Attack, float]:
    """The attack on a server that has had ordinary work, and the growth of its idle memory by it, as a share."""
    await warm_up(server.port)
    before = await settled_bytes(group)
    found = await attack(server, time.monotonic() + ATTACK_SECONDS)
    await scrape_when_idle(server)
    return found, await least_bytes_when_idle(group) / before - 1


def test_clients_that_leave_long_jobs_cost_no_process_its_life_and_leave_no_memory_taken(group: ControlGroup) -> None:
    with running(group.entered_by(ours(MODELS)[0].command)) as server:
        found, growth = asyncio.run(measure(server, group))
        ends = [line["how"] for line in server.find("worker_ended")]
    assert (group.kills, ends) == (0, []), f"after {found.left} streams that were left"
    assert set(found.innocent) == {200}
    assert growth <= MOST_GROWTH
