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
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from subprocess import PIPE, Popen, run
from typing import Any

import httpx

from benchmarks.report import machine, table
from dit_serve import SampleSpec, load_pipeline
from tests.service.running import FREE_PORTS, ROOT, Running, without_settings

MODEL, IMAGES = "digits-64", 8  # guided: two sequences an image
MOST, SECONDS = 3.0, 5.0  # the largest ratio; how long steps and answers are measured
SERVE = (sys.executable, "-m", "dit_serve", "serve", *FREE_PORTS, "--models", MODEL, "--devices", "cpu")
GENERATE = (sys.executable, "-m", "dit_serve", "generate", "--model", MODEL, "--device", "cpu", "--class-id", "7",
            "--seed", "0", "-n", str(IMAGES), "--steps", "250", "--out")
THREADS = ("OMP_", "GOMP_", "KMP_", "MKL_")
ENVIRONMENT = {name: value for name, value in without_settings().items() if not name.startswith(THREADS)}


def repeated(work: Callable[[], object], is_over: Callable[[], bool]) -> float:
    """Median seconds of a work that is done again and again, at least once, until it is over."""
    taken: list[float] = []
    while not taken or not is_over():
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def step_here() -> None:
    """The fresh process: says that it is ready, waits for a word, and prints the seconds of a step."""
    pipeline = load_pipeline(MODEL, device="cpu")
    samples = [pipeline.begin(SampleSpec(k, k, 1000, 4.0)) for k in range(IMAGES)]
    repeated(lambda: pipeline.step(samples), lambda: samples[0].i == 20)  # warm
    print(flush=True)
    sys.stdin.readline()
    until = time.monotonic() + SECONDS
    print(repeated(lambda: pipeline.step(samples), lambda: time.monotonic() > until or samples[0].is_done))


def step_seconds(processes: int) -> float:
    """Seconds of a step in the slowest of so many processes that step at the same time."""
    command = (sys.executable, "-m", "benchmarks.bench_company", "step")
    started = [Popen(command, cwd=ROOT, env=ENVIRONMENT, stdin=PIPE, stdout=PIPE, text=True) for _ in range(processes)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        print(file=process.stdin, flush=True)
    return max(float(process.communicate()[0]) for process in started)


def generate_and_serve(folder: str) -> list[list[float]]:
    """Seconds alone and in company: of `dit generate`, and of an answer of the server."""

    def generate() -> float:
        return repeated(lambda: run((*GENERATE, folder), cwd=ROOT, env=ENVIRONMENT, check=True), lambda: True)

    def ask() -> None:
        options: dict[str, Any] = {"headers": {"Accept": "application/json"}, "timeout": None, "trust_env": False}
        httpx.post(f"{server.url}/generate", json={"class_id": 7, "n": IMAGES}, **options).raise_for_status()

    made = [generate()]
    server = Running(SERVE, ENVIRONMENT)
    try:
        server.wait_until_listening()
        server.wait_until_ready()
        until = time.monotonic() + SECONDS
        answered = [repeated(ask, lambda: time.monotonic() > until)]
        with ThreadPoolExecutor(1) as thread:
            other = thread.submit(generate)
            answered.append(repeated(ask, other.done))
        return [[*made, other.result()], answered]
    finally:
        server.close()


def main() -> int:
    if "step" in sys.argv:
        step_here()
        return 0
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder:
        found = [[step_seconds(1), step_seconds(2)], *generate_and_serve(folder)]
    names = ("a step, two processes", "dit generate beside dit serve", "an answer of dit serve beside dit generate")
    rows = [(name, *pair, pair[1] / pair[0]) for name, pair in zip(names, found, strict=True)]
    print(f"{machine()}\n\n{table(('what', 'alone, s', 'in company, s', 'ratio'), rows)}")
    return 0 if all(both <= MOST * alone for alone, both in found) else 1


if __name__ == "__main__":
    sys.exit(main())
