"""Our pipeline against diffusers' own DiTPipeline: the same weights, requests and number format, in one run.

    make bench            # or: python -m benchmarks.bench_pipeline --out FILE
    python -m benchmarks.bench_pipeline --checkpoint FOLDER --dtype bfloat16 --batch 8

The demo models in float32 and in bfloat16, then DiT-XL/2's shape in bfloat16: all 28 blocks with random weights, few
steps, and a small autoencoder, so that the figure is the transformer's. Images are guided, two sequences each. "Free
shapes" is ours without the promise that an image does not depend on its batch (DIT_BATCH_INVARIANT=false). The runs
alternate, and the fastest of each is taken, because a shared machine only ever makes a run slower.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers import load as load_diffusers
from benchmarks.random_models import Sizes, write_folder
from benchmarks.report import Goal, goals_table, machine, table
from benchmarks.timing import seconds
from dit_serve import Pipeline, load_pipeline
from dit_serve.models.registry import DEMOS, demo_path

GUIDANCE_SCALE = 4.0
XL_NAME = "XL/2 shape"
XL_2 = Sizes(vae_channels=(32, 32, 32, 32), vae_layers=1)
COLUMNS = (
    "model", "dtype", "images at once", "steps", "ours, images/s", "free shapes", "diffusers", "ours / diffusers",
    "invariance costs", "largest difference",
)
METHOD = """\
# The pipeline against DiTPipeline

{now}. {machine}, {threads} thread(s).

Whole images, autoencoder included, guidance 4 (two sequences an image), the same weights, requests and
number format in one run; the fastest of {runs} alternating runs. The XL/2 shape has all 28 blocks, random weights and a
small autoencoder. "Free shapes" is ours with DIT_BATCH_INVARIANT=false. The largest difference is that of 8-bit pixels
between ours and diffusers'; in bfloat16 diffusers draws its noise in 16 bits, so that its pictures are others.

{goals}
{table}"""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: a folder in diffusers' layout, its name in the table, and what is asked of it."""

    name: str
    folder: Path
    dtype: str
    batch: int
    steps: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found: the least seconds for the whole batch, and how far the pixels are apart."""

    case: Case
    ours: float  # as the service runs it
    free: float  # without batch invariance
    diffusers: float  # DiTPipeline's
    difference: int | None  # of 8-bit pixels; None where diffusers draws its noise in 16 bits, and so other pictures

    @property
    def ratio(self) -> float:
        return self.diffusers / self.ours

    @property
    def row(self) -> tuple[object, ...]:
        """What COLUMNS names."""
        case = self.case
        speeds = (f"{case.batch / seconds:.3g}" for seconds in (self.ours, self.free, self.diffusers))
        cost, difference = f"{self.ours / self.free - 1:+.0%}", "" if self.difference is None else self.difference
        return case.name, case.dtype, case.batch, case.steps, *speeds, f"{self.ratio:.2f}", cost, difference


def measure(case: Case, runs: int) -> Outcome:
    """Return the fastest of some alternating runs, after one that warms up and is compared."""
    ours = load_pipeline(case.folder, device="cpu", dtype=case.dtype)
    free = load_pipeline(case.folder, device="cpu", dtype=case.dtype, batch_invariant=False)
    theirs = load_diffusers(case.folder, case.dtype)
    classes, seeds = [i % ours.info.num_classes for i in range(case.batch)], list(range(case.batch))

    def generate(pipeline: Pipeline) -> np.ndarray:
        return np.stack(pipeline.generate(classes, seeds, steps=case.steps, guidance_scale=GUIDANCE_SCALE))

    def generate_theirs() -> np.ndarray:
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        images = theirs(classes, GUIDANCE_SCALE, generators, case.steps, output_type="np").images
        return np.asarray((images * 255).round().astype(np.uint8))

    works: list[Callable[[], np.ndarray]] = [lambda: generate(ours), lambda: generate(free), generate_theirs]
    made = [work().astype(int) for work in works]
    difference = int(np.abs(made[0] - made[2]).max()) if case.dtype == "float32" else None
    rounds = [[seconds(work, torch.device("cpu")) for work in works] for _ in range(runs)]
    least = [min(column) for column in zip(*rounds, strict=True)]
    return Outcome(case, least[0], least[1], least[2], difference)


def goals(outcomes: Sequence[Outcome]) -> list[Goal]:
    """Return what was promised of the demo models and of DiT-XL/2's shape, as far as they were measured."""
    demo = "at least 2 x DiTPipeline on the demo models"
    kinds = (
        (2.0, f"{demo}, one image at once", [o.ratio for o in outcomes if o.case.name in DEMOS and o.case.batch == 1]),
        (2.0, f"{demo}, several at once", [o.ratio for o in outcomes if o.case.name in DEMOS and o.case.batch > 1]),
        (1.0, "no slower than DiTPipeline on DiT-XL/2's shape", [o.ratio for o in outcomes if o.case.name == XL_NAME]),
    )
    found = [(promise, min(ratios), max(ratios), least) for least, promise, ratios in kinds if ratios]
    return [Goal(promise, f"{low:.2f} to {high:.2f} x", low >= least) for promise, low, high, least in found]


def report(outcomes: Sequence[Outcome], runs: int) -> str:
    return METHOD.format(
        now=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", machine=machine(), threads=torch.get_num_threads(), runs=runs,
        goals=goals_table(goals(outcomes)), table=table(COLUMNS, [outcome.row for outcome in outcomes]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, action="append", help="diffusers folder; default: demos and XL/2")
    parser.add_argument("--dtype", action="append", choices=["float32", "bfloat16"], help="default: both")
    parser.add_argument("--batch", type=int, action="append", help="images at once; default: 1 and 8")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--xl-steps", type=int, default=3, help="of DiT-XL/2's shape; 0 leaves it out")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    folders = options.checkpoint or [path for name in DEMOS if (path := demo_path(name))]
    cases = [
        Case(folder.name, folder, dtype, batch, options.steps)
        for folder in folders for dtype in options.dtype or ("float32", "bfloat16") for batch in options.batch or (1, 8)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        if options.xl_steps and not options.checkpoint:
            xl = Path(scratch) / "xl"
            write_folder(xl, XL_2, 32, 0, torch.device("cpu"))
            cases.append(Case(XL_NAME, xl, "bfloat16", 1, options.xl_steps))
        text = report([measure(case, options.runs) for case in cases], options.runs)
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
