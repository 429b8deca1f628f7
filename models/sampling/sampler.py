"""Samplers as tables: one row of ten coefficients per step, built once in float64.

A sampler here is a function (schedule, steps, learned variance or not) -> `SamplerTable`. The update itself is one
formula for all of them (kernels/sampler_step.py), so samples at different steps of different samplers share a batch,
and a new sampler is one more function. Nothing here knows networks, guidance or noise.

In the formulas ᾱ is alphas_cumprod at a step's timestep, ᾱ' at the next one (1 after the last); α = √ᾱ, σ = √(1 - ᾱ).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dit_serve.kernels.sampler_step import COLUMNS
from dit_serve.models.sampling.schedule import Schedule

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SamplerTable:
    """How one sampler walks one schedule in N steps.

    Attributes:
        timesteps: N timesteps, from noise to image.
        coefficients: (N, 10) float32, in the order of kernels.sampler_step.COLUMNS.
        is_noisy: (N) whether the step adds noise, for which one draw of (1, C, H, W) is needed.
    """

    timesteps: tuple[int, ...]
    coefficients: torch.Tensor
    is_noisy: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.timesteps)


def ddim(schedule: Schedule, steps: int, learn_sigma: bool) -> SamplerTable:
    """Return DDIM's table with eta 0: x' = α' x0 + σ' eps (Song et al. 2020, arXiv 2010.02502, eq. 12).

    Timesteps and the noise level after each are those of diffusers' DDIMScheduler, spacing and offset included.

    Raises:
        ValueError: the schedule cannot be walked in that many steps.
    """
    timesteps = schedule.ddim_timesteps(steps)
    bars = schedule.alphas_cumprod
    following = timesteps - schedule.num_train_timesteps // steps
    last = 1.0 if schedule.set_alpha_to_one else bars[0]
    bar_next = np.where(following >= 0, bars[np.maximum(following, 0)], last)
    table = _predictions(schedule, bars[timesteps])
    _add_eps(table, np.sqrt(1 - bar_next))
    table["x_x0"] = np.sqrt(bar_next)
    return _table(timesteps, table)


def ddpm(schedule: Schedule, steps: int, learn_sigma: bool) -> SamplerTable:
    """Return the table of ancestral sampling on timesteps spread evenly over all.

    Timesteps: Improved DDPM (arXiv 2102.09672), section 4. Mean: DDPM (arXiv 2006.11239), eq. 7, on the betas between
    the timesteps kept. Variance: where learned, between the posterior's (eq. 7) and beta (Improved DDPM, eq. 15);
    otherwise beta. The last step adds no noise.

    Raises:
        ValueError: the schedule cannot be walked in that many steps.
    """
    timesteps = schedule.respaced_timesteps(steps)
    bar = schedule.alphas_cumprod[timesteps]
    bar_next = np.append(bar[1:], 1.0)
    beta = 1 - bar / bar_next
    posterior = beta * (1 - bar_next) / (1 - bar)
    table = _predictions(schedule, bar)
    table["x_x0"] = np.sqrt(bar_next) * beta / (1 - bar)
    table["x_x"] = np.sqrt(bar / bar_next) * (1 - bar_next) / (1 - bar)
    table["noise_scale"] = np.append(np.ones(steps - 1), 0.0)
    table["log_variance_max"] = np.log(beta)
    table["log_variance_min"] = np.log(np.append(posterior[:-1], beta[-1])) if learn_sigma else np.log(beta)
    return _table(timesteps, table)


def dpm_solver(schedule: Schedule, steps: int, learn_sigma: bool) -> SamplerTable:
    """Return DPM-Solver++(2M)'s table, timesteps uniform in t (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

    With λ = ln(α/σ) and h its growth over a step, x' = (σ'/σ) x + α' (1 - e^{-h}) D and D = x0 + (x0 - x0_prev) h /
    (2 h_prev). The first step has no x0_prev and the last one ends at σ' = 0, where h is infinite: both take D = x0.

    Raises:
        ValueError: the schedule cannot be walked in that many steps.
    """
    schedule.check_steps(steps)
    timesteps = np.linspace(0, schedule.num_train_timesteps - 1, steps + 1).round()[:0:-1].astype(np.int64)
    bar = schedule.alphas_cumprod[timesteps]
    bar_next = np.append(bar[1:], 1.0)
    sigma, sigma_next = np.sqrt(1 - bar), np.sqrt(1 - bar_next)
    growth = np.diff(np.log(np.sqrt(bar) / sigma))                    # h of all steps but the last, whose h is infinite
    decay = np.append(np.exp(-growth), 0.0)
    weight = np.sqrt(bar_next) * (1 - decay)
    second = np.zeros(steps)                                          # h / (2 h_prev), zero where first order is taken
    has_history = growth[:-1] > 0                                     # two timesteps may round to the same one
    second[1:-1] = np.where(has_history, growth[1:] / (2 * np.where(has_history, growth[:-1], 1.0)), 0.0)
    table = _predictions(schedule, bar)
    table["x_x"] = sigma_next / sigma
    table["x_x0"] = weight * (1 + second)
    table["x_prev"] = -weight * second
    return _table(timesteps, table)


SAMPLERS: dict[str, Callable[[Schedule, int, bool], SamplerTable]] = {"ddim": ddim, "ddpm": ddpm, "dpm++": dpm_solver}


def sampler_table(name: str, schedule: Schedule, steps: int, learn_sigma: bool) -> SamplerTable:
    """Return the table of the sampler called `name` for that many steps.

    Raises:
        ValueError: no such sampler, or the schedule cannot be walked in that many steps.
    """
    if name not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {name!r}")
    return SAMPLERS[name](schedule, steps, learn_sigma)


def _predictions(schedule: Schedule, bar: Array) -> dict[str, Array]:
    """Return a table of zeros with what turns (x, out) into x0 filled in: one row for each ᾱ in bar, columns (N,)."""
    alpha, sigma = np.sqrt(bar), np.sqrt(1 - bar)
    table = {column: np.zeros_like(bar) for column in COLUMNS}
    table["clip"] = np.full_like(bar, schedule.clip_sample_range if schedule.clip_sample else np.inf)
    table["eps_x"], table["eps_out"] = np.zeros_like(bar), np.ones_like(bar)
    if schedule.prediction_type == "epsilon":                         # x0 = (x - σ eps) / α
        table["x0_x"], table["x0_out"] = 1 / alpha, -sigma / alpha
    elif schedule.prediction_type == "sample":                        # eps = (x - α x0) / σ
        table["x0_out"] = np.ones_like(bar)
        table["eps_x"], table["eps_out"] = 1 / sigma, -alpha / sigma
    else:                                                             # v = α eps - σ x0 (arXiv 2202.00512, appendix D)
        table["x0_x"], table["x0_out"] = alpha, -sigma
        table["eps_x"], table["eps_out"] = sigma, alpha
    return table


def _add_eps(table: dict[str, Array], weight: Array) -> None:
    """Add weight · eps to x', with eps written in (x, out)."""
    table["x_x"] += weight * table["eps_x"]
    table["x_out"] += weight * table["eps_out"]


def _table(timesteps: NDArray[np.int64], table: dict[str, Array]) -> SamplerTable:
    """Return the columns as a SamplerTable, rounded once to float32."""
    coefficients = np.stack([table[column] for column in COLUMNS], axis=1)
    return SamplerTable(
        timesteps=tuple(int(t) for t in timesteps),
        coefficients=torch.from_numpy(coefficients).float(),
        is_noisy=tuple(bool(scale > 0) for scale in table["noise_scale"]),
    )
