"""The bare pipeline's images a second at a mix: no HTTP, no queue, no PNG, no other process. Prints JSON.

    python -m benchmarks.bare --model digits-64 --count 270 --sequences 16 --seed 1

The strongest use of the pipeline in a loop: places that finished images leave are filled at the next step, as the
service does it. What the service loses against this is what serving costs.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import deque

from benchmarks.load import Ask, balanced_asks
from dit_serve.models.pipeline import Pipeline, Sample, SampleSpec, load_pipeline


def make_all(pipeline: Pipeline, asks: list[Ask], sequences: int) -> int:
    """Makes every image with at most so many sequences a step: how many images were decoded."""
    waiting, rows, made = deque(asks), list[Sample](), 0
    while waiting or rows:
        free = sequences - sum(1 if row.spec.guidance_scale == 1 else 2 for row in rows)
        while waiting and waiting[0].sequences <= free:
            ask = waiting.popleft()
            free -= ask.sequences
            rows.append(pipeline.begin(SampleSpec(ask.class_id, ask.seed, ask.steps, ask.cfg)))
        pipeline.step(rows)
        done = [row for row in rows if row.is_done]
        made += len(pipeline.decode(done)) if done else 0
        rows = [row for row in rows if not row.is_done]
    return made


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits-64")
    parser.add_argument("--count", type=int, default=270)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pipeline = load_pipeline(options.model)
    make_all(pipeline, balanced_asks(9, random.Random(0)), options.sequences)  # warm
    began = time.perf_counter()
    made = make_all(pipeline, balanced_asks(options.count, random.Random(options.seed)), options.sequences)
    seconds = time.perf_counter() - began
    print(json.dumps({"images": made, "seconds": seconds, "images_per_second": made / seconds}))


if __name__ == "__main__":
    main()
