"""Two at once on the same two cores, whose threads may spin against each other: how much slower is each than alone?

    python -m benchmarks.bench_company        # two minutes; status 1 if anything takes more than 3 x as long in company

A denoising step of 16 sequences of digits-64 through `load_pipeline` in a fresh process, alone and beside a second one;
then `dit generate` beside a busy `dit serve --devices cpu`, and that server's answers. Two that share the cores fairly
take twice as long. The environment holds no word on threads, as most people's does not.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from statistics import median
from subprocess import PIPE, run
from typing import Any

from benchmarks.report import machine, table
from dit_serve import SampleSpec, load_pipeline
from tests.service.running import FREE_PORTS, ROOT, Running, without_settings

MODEL, IMAGES, MOST, SECONDS = "digits-64", 8, 3.0, 5.0  # guided: two sequences an image; the largest ratio
DIT = (sys.executable, "-m", "dit_serve")
STEP = (sys.executable, "-m", "benchmarks.bench_company", "step-here")
SERVE = (*DIT, "serve", *FREE_PORTS, "--models", MODEL, "--devices", "cpu")
GENERATE = (*DIT, "generate", "--model", MODEL, "--device", "cpu", "--class-id", "7", "-n", "8", "--steps", "250")
ENVIRONMENT = {k: v for k, v in without_settings().items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
start = partial(run, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=PIPE, text=True)


def repeated(work: Callable[[], object], seconds: float = 0.0, other: Future[float] | None = None) -> float:
    """Median seconds of a work that is done again and again for so long and until the other is done, at least once."""
    taken, until = list[float](), time.monotonic() + seconds
    while not taken or time.monotonic() < until or (other is not None and not other.done()):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def step_here() -> float:
    """Seconds of a step in this process, in the middle third of its time, when the others step too."""
    pipeline, samples = load_pipeline(MODEL, device="cpu"), list[Any]()

    def step() -> None:
        if not samples or samples[0].is_done:
            samples[:] = [pipeline.begin(SampleSpec(k, k, 1000, 4.0)) for k in range(IMAGES)]
        pipeline.step(samples)

    return [repeated(step, SECONDS) for _ in range(3)][1]


def generate_and_serve(folder: str) -> list[tuple[float, float]]:
    """Seconds alone and in company: of `dit generate`, and of an answer of the server."""
    generate = partial(repeated, lambda: start((*GENERATE, "--out", folder)))
    made, server = generate(), Running(SERVE, ENVIRONMENT)
    try:
        server.wait_until_listening()
        server.wait_until_ready()
        client = server.client(headers={"Accept": "application/json"})
        client.timeout = None
        post = partial(client.post, "/generate", json={"class_id": 7, "n": IMAGES})
        ask = partial(repeated, lambda: post().raise_for_status())
        answered = ask(SECONDS)
        with ThreadPoolExecutor(1) as thread:
            other = thread.submit(generate)
            return [(answered, ask(other=other)), (made, other.result())]
    finally:
        server.close()


def main() -> int:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        alone, both = (max(float(done.stdout) for done in threads.map(start, [STEP] * n)) for n in (1, 2))
        found = [(alone, both), *generate_and_serve(folder)]
    names = ("a step, two processes", "an answer of dit serve beside dit generate", "dit generate beside dit serve")
    rows = [(name, *pair, pair[1] / pair[0]) for name, pair in zip(names, found, strict=True)]
    print(f"{machine()}\n\n{table(('what', 'alone, s', 'in company, s', 'ratio'), rows)}")
    return 0 if all(both <= MOST * alone for alone, both in found) else 1


if __name__ == "__main__":
    sys.exit(print(step_here()) if sys.argv[1:] else main())
