"""The goals, each reached, missed or not measured: computed from the rows, never from anything else. Knows no torch.

They were set for an H200 as ratios within one run. A goal whose figures are not all there is not measured: the half of
a sweep that a time limit left would flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.gpu.sections import Outcome, Row

FROM_SEQUENCES = (16, 32, 64)
OURS, EAGER = "ours", "diffusers, eager"
COMPILED = ("diffusers, max-autotune-no-cudagraphs", "diffusers, max-autotune")
Found = float | None
Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to reach."""

    name: str
    bound: float
    is_least: bool  # whether the bound is the least value, or the most
    found: Callable[[Outcomes], Found]  # the value from all sections' rows; None where they do not give it

    def verdict(self, outcomes: Outcomes, device: str) -> Row:
        """Return the goal's row; on a processor nothing that is found counts."""
        value = self.found(outcomes) if device == "cuda" else None
        is_met = value is not None and (value >= self.bound if self.is_least else value <= self.bound)
        verdict = "not measured" if value is None else "reached" if is_met else "missed"
        bound = f"at {'least' if self.is_least else 'most'} {self.bound:g}"
        return {"goal": self.name, "bound": bound, "found": value, "verdict": verdict}


def verdicts(outcomes: Outcomes, device: str) -> list[Row]:
    return [goal.verdict(outcomes, device) for goal in GOALS]


def rows_of(outcomes: Outcomes, *names: str, **wanted: object) -> list[Row]:
    """Return the rows of some sections, as far as they got, in which these names have these values."""
    rows = [row for name in names if name in outcomes for row in outcomes[name].rows]
    return [row for row in rows if wanted.items() <= row.items()]


def least_share(outcomes: Outcomes, resolution: int, batch_invariant: bool) -> Found:
    """Return the least share of the matrix ceiling over the numbers of sequences that the goal speaks of."""
    rows = rows_of(outcomes, "steps", resolution=resolution, batch_invariant=batch_invariant)
    shares = {row["sequences"]: row["share"] for row in rows if row["share"] is not None}
    found = [shares[sequences] for sequences in FROM_SEQUENCES if sequences in shares]
    return min(found) if len(found) == len(FROM_SEQUENCES) else None


def speed_over(outcomes: Outcomes, *contenders: str) -> Found:
    """Return our images a second at 256 pixels over the fastest contender's, the least of both numbers of steps."""
    rates: dict[str, dict[str, float]] = {}  # by how many of how many steps, by contender
    for row in rows_of(outcomes, "ours", "eager", "compiled", "graphs", resolution=256, unit="images/s"):
        rates.setdefault(row["what"], {})[row["contender"]] = row["value"]
    found = [(by.get(OURS), [by[name] for name in contenders if name in by]) for by in rates.values()]
    ratios = [ours / max(theirs) for ours, theirs in found if ours and theirs]
    return min(ratios) if len(ratios) == len(rates) >= 2 else None


def worse_than_torch(outcomes: Outcomes) -> Found:
    """Return our error over that of torch's own bfloat16, the largest of all models; None if one is missing."""
    errors: dict[str, dict[bool, float]] = {}
    for row in rows_of(outcomes, "quality"):
        errors.setdefault(row["model"], {})[row["arithmetic"].startswith("ours")] = row["error"]
    if len(errors) < 2 or any(len(pair) < 2 for pair in errors.values()):
        return None
    return max(pair[True] / pair[False] for pair in errors.values())


def failures(outcomes: Outcomes, section: str, count: Callable[[Row], int]) -> Found:
    """Return the sum of what a section that came to its end counts as wrong."""
    outcome = outcomes.get(section)
    is_whole = outcome is not None and outcome.status == "done" and outcome.rows
    return float(sum(map(count, rows_of(outcomes, section)))) if is_whole else None


GOALS = (
    Goal("ops outside rounding of float64", 0, False, lambda o: failures(o, "ops", lambda row: not row["is_within"])),
    Goal("images that differ by their batch", 0, False, lambda o: failures(o, "invariance", lambda r: r["differing"])),
    Goal("share of the matrix ceiling, 256 px, from 16 sequences", 0.72, True, lambda o: least_share(o, 256, True)),
    Goal("share of the matrix ceiling, 512 px, from 16 sequences", 0.70, True, lambda o: least_share(o, 512, True)),
    Goal("the same, 256 px, any shape allowed", 0.72, True, lambda o: least_share(o, 256, False)),
    Goal("the same, 512 px, any shape allowed", 0.70, True, lambda o: least_share(o, 512, False)),
    Goal("images/s over diffusers compiled, 256 px", 1.15, True, lambda o: speed_over(o, *COMPILED)),
    Goal("images/s over diffusers eager, 256 px", 1.8, True, lambda o: speed_over(o, EAGER)),
    Goal("one image of 50 steps, 256 px, ms", 60, False, lambda o: next((row["value"] for row in rows_of(
        o, "ours", contender=OURS, resolution=256, what="one image, 50 steps")), None)),
    Goal("error over that of torch's own bfloat16", 1.1, False, worse_than_torch),
)
