"""The service itself on the random weights, by HTTP on loopback, in processes of its own: the wait for one image, by
a client that keeps its connection, and images a second with enough requests at once that no place in a batch is free.

The batch is that of the bare pipeline's images a second (`end_to_end`), so that the two differ by what serving costs.
Nothing is asked of this process but the standard library; the server needs the service's packages.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.sections import Row
from benchmarks.load import LOOPBACK, Ask, ask_one, in_turn

ROOT = Path(__file__).parents[2]
NEEDED = ("pydantic", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client", "opentelemetry")
GUIDANCE = 4.0
ROUNDS = 4  # batches whose images are counted


def rows(bench: Bench, precision: str) -> Iterator[Row]:
    """Yield a row for each figure of the service in a precision, "" for the usual one.

    Raises:
        ModuleNotFoundError: packages of the service are not there.
        RuntimeError: the server ended, or did not answer with an image.
    """
    resolution, images, steps = min(bench.resolutions), bench.scale.images, bench.scale.steps
    what = {"contender": ", ".join(filter(None, ("served", precision))), "resolution": resolution}
    began = time.time()
    with serving(bench, [resolution], precision) as server:
        yield {**what, "what": "start-up", "value": time.time() - began, "unit": "s"}
        waits = waits_for_one(server.port, steps[-1], bench.scale.runs)
        name = f"one image, {steps[-1]} steps"
        yield {**what, "what": name, "value": statistics.median(waits) * 1e3, "unit": "ms"}
        for count in steps:
            rate = asyncio.run(images_per_second(server.port, images, count))
            yield {**what, "what": f"{images} at once, {count} steps", "value": rate, "unit": "images/s"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    port: int
    worker_pid: int  # of its one worker
    lines: SimpleQueue[str]  # of its log from then on; "" after the last


@contextlib.contextmanager
def serving(bench: Bench, resolutions: Iterable[int], precision: str = "") -> Iterator[Server]:
    """A server of the random weights of some resolutions, models that are called as their folders are.

    It ends with this process's group, whatever happens to this process.

    Raises:
        ModuleNotFoundError: packages of the service are not there.
        RuntimeError: the server ended.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ModuleNotFoundError(f"the service needs {', '.join(missing)}")
    folders = map(bench.folder, resolutions)
    models = ",".join(f"{folder.name}={folder}" for folder in folders)
    device = "cuda:0" if bench.device.type == "cuda" else "cpu"
    flags = {"port": 0, "metrics-port": 0, "models": models, "devices": device}
    flags |= {"dtype": str(bench.dtype).removeprefix("torch."), "max-batch-sequences": 2 * bench.scale.images}
    flags |= {"precision": precision} if precision else {}
    command = [sys.executable, "-m", "dit_serve", "serve"]
    command += [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("DIT_")}
    with subprocess.Popen(command, cwd=ROOT, env=settings, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = SimpleQueue[str]()
        following = threading.Thread(target=follow, args=(process.stderr, lines), daemon=True)
        following.start()
        try:
            port = int(told_of("listening", lines)["port"])
            yield Server(port, told_of("ready", lines)["worker_pid"], lines)
        finally:
            process.kill()
            following.join()  # reads to the end, before the pipe is closed


def follow(stderr: IO[str], lines: SimpleQueue[str]) -> None:
    """Pass every line of a server's log on, to this process's log too; "" after the last."""
    for line in stderr:
        sys.stderr.write(line)
        lines.put(line)
    lines.put("")


def told_of(event: str, lines: SimpleQueue[str]) -> Row:
    """Return the log's line of an event; RuntimeError if the server ends without it."""
    last = ""
    while line := lines.get():
        last = line.strip() or last
        if (found := fields_of(line)).get("event") == event:
            return found
    raise RuntimeError(f"the server ended before it was {event}: {last}")


def fields_of(line: str) -> Row:
    """Return what a line of the log holds; nothing where it is no JSON object."""
    with contextlib.suppress(json.JSONDecodeError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {}


def waits_for_one(port: int, steps: int, runs: int) -> list[float]:
    """Return the seconds from a request to its whole image, one after another, after one that is not counted."""
    connection, waits = HTTPConnection(LOOPBACK, port), list[float]()
    for seed in range(1 + runs):
        body = json.dumps(asdict(Ask(seed, GUIDANCE, steps, seed)))
        began = time.perf_counter()
        connection.request("POST", "/generate", body, {"Content-Type": "application/json", "Accept": "image/png"})
        answer = connection.getresponse()
        png = answer.read()
        waits.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"the server answered {answer.status}: {png[:200]!r}")
    connection.close()
    return waits[1:]


async def images_per_second(port: int, images: int, steps: int) -> float:
    """Return the rate from the end of the first batch on, with twice as many clients as a batch has images."""
    ends = list[float]()

    async def one(ask: Ask) -> None:
        trace = await ask_one(port, ask, time.monotonic())
        if not trace.is_served:
            raise RuntimeError(f"the server did not answer with an image: {trace.answer}")
        ends.append(time.monotonic())

    asks = [Ask(seed % images, GUIDANCE, steps, seed) for seed in range((1 + ROUNDS) * images)]
    await in_turn(2 * images, asks, one)
    return (len(ends) - images) / (ends[-1] - ends[images - 1])
