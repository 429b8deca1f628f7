"""The goals, each reached, missed or not measured: computed from the rows, never from anything else. Knows no torch.

They are ratios within one run, and the wait for one image; the ceiling is a large bfloat16 product on the same card, of
fp8 too. A goal whose figures are not all there is not measured: the half of a sweep that a time limit left would
flatter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.gpu.sections import Outcome, Row

OURS, OURS_FP8, SERVED, EAGER = "ours", "ours, fp8", "served", "diffusers, eager"
COMPILED = ("diffusers, compiled", "diffusers, compiled, in graphs")
CONTENDERS = ("ours", "fp8", "eager", "compiled", "graphs", "served")  # the sections that have them
BOUND_BY_MEMORY = (
    "layernorm_modulate", "gate_residual_layernorm_modulate", "sampler_step", "groupnorm_silu", "add_bias",
)
LARGE, LARGE_MB = 16, 4.0  # sequences and megabytes moved from which a kernel's rate is the memory's
Found = float | None
Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to reach."""

    name: str
    bound: float
    is_least: bool  # whether the bound is the least value, or the most
    found: Callable[[Outcomes], Found]  # the value from all sections' rows; None where they do not give it
    stretch: float | None = None  # the bound beyond

    def verdict(self, outcomes: Outcomes, device: str) -> Row:
        """Return the goal's row; on a processor nothing that is found counts."""
        value = self.found(outcomes) if device == "cuda" else None
        verdict = "not measured" if value is None else "reached" if self.is_met(value, self.bound) else "missed"
        if value is not None and self.stretch is not None and self.is_met(value, self.stretch):
            verdict = "reached, the stretch too"
        bound = f"at {'least' if self.is_least else 'most'} {self.bound:g}"
        return {"goal": self.name, "bound": bound, "stretch": self.stretch, "found": value, "verdict": verdict}

    def is_met(self, value: float, bound: float) -> bool:
        return value >= bound if self.is_least else value <= bound


def verdicts(outcomes: Outcomes, device: str) -> list[Row]:
    return [goal.verdict(outcomes, device) for goal in GOALS]


def rows_of(outcomes: Outcomes, *names: str, **wanted: object) -> list[Row]:
    """Return the rows of some sections, as far as they got, in which these names have these values."""
    rows = [row for name in names if name in outcomes for row in outcomes[name].rows]
    return [row for row in rows if wanted.items() <= row.items()]


def share(outcomes: Outcomes, section: str, resolution: int, sequences: int) -> Found:
    """Return the share of the matrix ceiling that a step of so many sequences reached."""
    return next((r["share"] for r in rows_of(outcomes, section, resolution=resolution, sequences=sequences)), None)


def speed_over(outcomes: Outcomes, ours: str, *contenders: str) -> Found:
    """Return our images a second at 256 pixels over the fastest contender's, the least of both numbers of steps."""
    rates: dict[str, dict[str, float]] = {}  # by how many of how many steps, by contender
    for row in rows_of(outcomes, *CONTENDERS, resolution=256, unit="images/s"):
        rates.setdefault(row["what"], {})[row["contender"]] = row["value"]
    found = [(by.get(ours), [by[name] for name in contenders if name in by]) for by in rates.values()]
    ratios = [ours / max(theirs) for ours, theirs in found if ours and theirs]
    return min(ratios) if len(ratios) == len(rates) >= 2 else None


def wait(outcomes: Outcomes, section: str) -> Found:
    """Return the milliseconds from a request for one image of 50 steps at 256 pixels to its PNG."""
    rows = rows_of(outcomes, section, resolution=256, what="one image, 50 steps")
    return next((row["value"] for row in rows), None)


def least_of_copy(outcomes: Outcomes) -> Found:
    """Return the least share of a copy of as many bytes over the kernels that memory bounds, at the large shapes."""
    shares: dict[str, list[float]] = {name: [] for name in BOUND_BY_MEMORY}
    for row in rows_of(outcomes, "kernels", unit="GB/s"):
        name, sort = row["kernel"].split()[:2]  # a number where it is the usual one
        is_large = row["sequences"] >= LARGE and row["rate"] * row["ours_ms"] >= LARGE_MB
        if name in shares and sort.isdigit() and is_large:
            shares[name].append(row["copy_share"])
    is_whole = all(len(found) >= 2 for found in shares.values())
    return min(min(found) for found in shares.values()) if is_whole else None


def worse_than_torch(outcomes: Outcomes) -> Found:
    """Return our error over that of torch's own bfloat16, the largest of all models; None if one is missing."""
    errors: dict[str, dict[str, float]] = {}
    for row in rows_of(outcomes, "quality"):
        errors.setdefault(row["model"], {})[row["arithmetic"]] = row["error"]
    pairs = [(by.get("ours, bfloat16"), by.get("torch's operators, bfloat16")) for by in errors.values()]
    ratios = [ours / theirs for ours, theirs in pairs if ours and theirs]
    return max(ratios) if len(ratios) == len(errors) >= 2 else None


def failures(outcomes: Outcomes, section: str, count: Callable[[Row], int]) -> Found:
    """Return the sum of what a section that came to its end counts as wrong."""
    outcome = outcomes.get(section)
    is_whole = outcome is not None and outcome.status == "done" and outcome.rows
    return float(sum(map(count, rows_of(outcomes, section)))) if is_whole else None


def wrong_by_the_service(outcomes: Outcomes) -> Found:
    """Return how many images differed or did not come; None unless work was lost with a worker and made again."""
    was_killed = any(row["made_again"] for row in rows_of(outcomes, "bytes", is_replaced=True))
    wrong = failures(outcomes, "bytes", lambda row: row.get("differing", 0) + row.get("lost", 0))
    return wrong if was_killed else None


def step_share(section: str, resolution: int, sequences: int, bound: float, stretch: float | None = None) -> Goal:
    kind = "fp8, " if section.startswith("fp8") else ""
    name = f"{kind}share of the matrix ceiling, {resolution} px, {sequences} sequences"
    return Goal(name, bound, True, lambda outcomes: share(outcomes, section, resolution, sequences), stretch)


GOALS = (
    Goal("ops outside rounding of float64", 0, False, lambda o: failures(o, "ops", lambda row: not row["is_within"])),
    Goal("images that differ by their batch", 0, False, lambda o: failures(o, "invariance", lambda r: r["differing"])),
    Goal("images through the service that differ, 200 requests, a worker killed", 0, False, wrong_by_the_service),
    step_share("steps", 256, 64, 0.60, 0.68),
    step_share("steps", 256, 16, 0.55, 0.65),
    step_share("steps", 512, 16, 0.58),
    step_share("fp8-steps", 256, 64, 0.75),
    Goal("images/s over diffusers compiled, 256 px", 1.15, True, lambda o: speed_over(o, OURS, *COMPILED)),
    Goal("images/s over diffusers eager, 256 px", 1.5, True, lambda o: speed_over(o, OURS, EAGER)),
    Goal("fp8, images/s over diffusers compiled, 256 px", 1.4, True, lambda o: speed_over(o, OURS_FP8, *COMPILED)),
    Goal("one image of 50 steps by HTTP, 256 px, ms", 80, False, lambda o: wait(o, "served"), 65),
    Goal("fp8, one image of 50 steps by HTTP, 256 px, ms", 50, False, lambda o: wait(o, "fp8-served")),
    Goal("images/s by HTTP over the bare pipeline's, 256 px", 0.97, True, lambda o: speed_over(o, SERVED, OURS)),
    Goal("memory-bound kernels' share of a copy", 0.85, True, least_of_copy),
    Goal("error over that of torch's own bfloat16", 1.1, False, worse_than_torch),
)
