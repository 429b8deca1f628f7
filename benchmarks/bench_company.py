"""Two at once on the same two cores, whose threads may spin against each other: how much slower is each than alone?

    python -m benchmarks.bench_company        # half a minute; status 1 if it takes more than 3 x as long in company

A denoising step of 16 sequences of digits-64 through `load_pipeline` in a fresh process, alone and beside a second one.
Two that share the cores fairly take twice as long. The environment holds no word on threads, as most people's does not.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from subprocess import PIPE, run
from typing import Any

from benchmarks.report import machine, table
from dit_serve import SampleSpec, load_pipeline
from tests.service.running import ROOT, without_settings

MODEL, IMAGES, MOST, SECONDS = "digits-64", 8, 3.0, 5.0  # guided: two sequences an image; the largest ratio
STEP = (sys.executable, "-m", "benchmarks.bench_company", "step-here")
ENVIRONMENT = {k: v for k, v in without_settings().items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
start = partial(run, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=PIPE, text=True)


def repeated(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of a work that is done again and again for so long."""
    taken, until = list[float](), time.monotonic() + seconds
    while time.monotonic() < until:
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


def main() -> int:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with ThreadPoolExecutor(2) as threads:
        alone, both = (max(float(done.stdout) for done in threads.map(start, [STEP] * n)) for n in (1, 2))
    rows = [("a step of 16 sequences", 1e3 * alone, 1e3 * both, both / alone)]
    print(f"{machine()}\n\n{table(('what', 'alone, ms', 'beside another, ms', 'ratio'), rows)}")
    return 0 if both <= MOST * alone else 1


if __name__ == "__main__":
    sys.exit(print(step_here()) if sys.argv[1:] else main())
