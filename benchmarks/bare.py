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
from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks.load import balanced_asks
from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.models.sampling.decoding import Pixels
from dit_serve.models.sampling.sample import Sample

SEQUENCES = 16  # in a step, as the service takes them on a processor


def make_all(
    pipeline: Pipeline, specs: Iterable[SampleSpec], has_room: Callable[[Sequence[Sample], SampleSpec], bool]
) -> Iterator[tuple[SampleSpec, Pixels]]:
    """Each image as it is done, of which the next joins at a step while there is room for it among those under way."""
    waiting, rows = deque(specs), list[Sample]()
    while waiting or rows:
        while waiting and has_room(rows, waiting[0]):
            rows.append(pipeline.begin(waiting.popleft()))
        pipeline.step(rows)
        done = [row for row in rows if row.is_done]
        rows = [row for row in rows if not row.is_done]
        yield from zip([row.spec for row in done], pipeline.decode(done) if done else [], strict=True)


def has_room(rows: Sequence[Sample], spec: SampleSpec) -> bool:
    taken = sum(1 if each.guidance_scale == 1 else 2 for each in (spec, *(row.spec for row in rows)))
    return taken <= SEQUENCES


def make(pipeline: Pipeline, count: int, seed: int) -> int:
    """How many images were made of so many requests as the services get."""
    asks = balanced_asks(count, random.Random(seed))
    specs = [SampleSpec(ask.class_id, ask.seed, ask.steps, ask.cfg) for ask in asks]
    return sum(1 for _ in make_all(pipeline, specs, has_room))


def main() -> None:
    model, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pipeline = load_pipeline(model)
    make(pipeline, 9, 0)  # warm
    began = time.perf_counter()
    print(make(pipeline, count, seed) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
