"""The bare pipeline's images a second at a mix: no HTTP, no queue, no PNG, no other process. Prints it.

    python -m benchmarks.bare MODEL COUNT SEED        # python -m benchmarks.bare digits-64 270 1

The strongest use of the pipeline in a loop: places that finished images leave are filled at the next step, as the
service does it. What the service loses against this is what serving costs.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque

from benchmarks.load import Ask, balanced_asks
from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.sampling.sample import Sample

SEQUENCES = 16  # in a step, as the service takes them on a processor


def make_all(pipeline: Pipeline, asks: list[Ask]) -> None:
    waiting, rows = deque(asks), list[Sample]()
    while waiting or rows:
        free = SEQUENCES - sum(1 if row.spec.guidance_scale == 1 else 2 for row in rows)
        while waiting and waiting[0].sequences <= free:
            ask = waiting.popleft()
            free -= ask.sequences
            rows.append(pipeline.begin(SampleSpec(ask.class_id, ask.seed, ask.steps, ask.cfg)))
        pipeline.step(rows)
        if done := [row for row in rows if row.is_done]:
            pipeline.decode(done)
            rows = [row for row in rows if not row.is_done]


def main() -> None:
    model, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pipeline = load_pipeline(model)
    make_all(pipeline, balanced_asks(9, random.Random(0)))  # warm
    asks = balanced_asks(count, random.Random(seed))
    began = time.perf_counter()
    make_all(pipeline, asks)
    print(count / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
