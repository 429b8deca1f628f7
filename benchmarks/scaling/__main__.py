"""The command `python -m benchmarks.scaling`: see benchmarks/scaling/__init__.py and docs/scaling-study.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.scaling.plan import SMOKE, Plan
from benchmarks.scaling.results import RESULTS
from benchmarks.scaling.study import Runner, Sources
from dit_serve.models.errors import CheckpointError
from dit_serve.models.options import expanded


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains a family of DiTs and measures them, or goes on where that was stopped; the exit status."""
    options = _parser().parse_args(arguments)
    plan = SMOKE if options.smoke else Plan()
    plan = replace(plan, steps=options.steps or plan.steps, pictures=options.pictures or plan.pictures)
    sources = Sources(out=Path(expanded(options.out)), vae=Path(expanded(options.vae)), data=options.data)
    try:
        Runner(plan, sources).study(options.seeds)
    except (ValueError, CheckpointError) as error:
        print(f"scaling: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nscaling: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(f"{sources.out / RESULTS}; python -m benchmarks.scaling.page {sources.out / RESULTS} shows it")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=main.__doc__)
    parser.add_argument("--out", default="build/scaling", help="folder of the whole study; one that is there goes on")
    parser.add_argument("--smoke", action="store_true", help="tiny networks, few steps and pictures")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="a family of trainings each; earlier ones stay"
    )
    parser.add_argument("--vae", default="models/demo/fashion-64/vae", help="folder of the autoencoder")
    parser.add_argument("--data", default="fashion", help="fashion, or a folder with the same four files as MNIST")
    parser.add_argument("--steps", type=int, help="of every training, in place of the plan's")
    parser.add_argument("--pictures", type=int, help="generated for a point, in place of the plan's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
