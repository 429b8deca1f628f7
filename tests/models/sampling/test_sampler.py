"""Each sampler against an independent implementation: diffusers' schedulers, and the closed form for `ddpm`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from dit_serve.kernels.sampler_step import COLUMNS, update_reference
from dit_serve.models.checkpoints.components.scheduler_config import schedule_of
from dit_serve.models.sampling.sampler import SAMPLERS, SamplerTable, sampler_table
from dit_serve.models.sampling.schedule import Schedule

# diffusers builds its alphas in float32: over a whole trajectory the last digits of that remain.
FLOAT32_TRAJECTORY = {"rtol": 2e-4, "atol": 2e-4}


def network(x: torch.Tensor, t: int) -> torch.Tensor:
    """Return something that depends on x and t as smoothly as a trained network's output does."""
    return torch.tanh(x + 0.3 * torch.roll(x, 1, -1)) * (0.5 + t / 1000)


def walk(table: SamplerTable, x: torch.Tensor) -> torch.Tensor:
    """Return where the table leads from x with `network`, in float64."""
    x0 = torch.zeros_like(x)
    for t, row in zip(table.timesteps, table.coefficients.double(), strict=True):
        x, x0 = update_reference(x, network(x, t), row.expand(len(x), -1), x0, None)
    return x


def walk_diffusers(scheduler: DDIMScheduler | DPMSolverMultistepScheduler, steps: int, x: torch.Tensor) -> torch.Tensor:
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, int(t)), t, x).prev_sample
    return x


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 4, 5, 5, dtype=torch.float64)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 50, 250, 1000])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_ddim_walks_as_diffusers_does(x: torch.Tensor, steps: int, spacing: str) -> None:
    scheduler = DDIMScheduler(clip_sample=False, timestep_spacing=spacing)
    table = sampler_table("ddim", Schedule(timestep_spacing=spacing), steps, True)
    torch.testing.assert_close(walk(table, x), walk_diffusers(scheduler, steps, x), **FLOAT32_TRAJECTORY)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps_offset": 1},
        {"set_alpha_to_one": False},
        {"clip_sample": True, "clip_sample_range": 0.7},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"num_train_timesteps": 500},
        {"trained_betas": np.linspace(2e-4, 0.03, 1000).tolist()},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_ddim_honours_each_setting_as_diffusers_does(x: torch.Tensor, settings: dict[str, object]) -> None:
    settings = {"clip_sample": False, **settings}
    scheduler = DDIMScheduler(**settings)
    schedule, _ = schedule_of({"_class_name": "DDIMScheduler", **settings})
    table = sampler_table("ddim", schedule, 20, True)
    torch.testing.assert_close(walk(table, x), walk_diffusers(scheduler, 20, x), **FLOAT32_TRAJECTORY)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, on numpy 2
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 14, 15, 20, 50, 250])
def test_dpm_solver_walks_as_diffusers_does(x: torch.Tensor, steps: int) -> None:
    scheduler = DPMSolverMultistepScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", solver_order=2)
    scheduler.set_timesteps(steps)
    table = sampler_table("dpm++", Schedule(), steps, True)
    assert table.timesteps == tuple(scheduler.timesteps.tolist())
    torch.testing.assert_close(walk(table, x), walk_diffusers(scheduler, steps, x), **FLOAT32_TRAJECTORY)


def ancestral_step(x: float, eps: float, v: float, noise: float, bar: float, bar_next: float, last: bool) -> float:
    """One step of DDPM with learned variance, written from the papers' formulas for one number."""
    beta = 1 - bar / bar_next
    x0 = (x - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
    mean = math.sqrt(bar_next) * beta / (1 - bar) * x0 + math.sqrt(1 - beta) * (1 - bar_next) / (1 - bar) * x
    if last:
        return mean
    posterior = (1 - bar_next) / (1 - bar) * beta
    share = (v + 1) / 2
    return mean + math.exp(0.5 * (share * math.log(beta) + (1 - share) * math.log(posterior))) * noise


@pytest.mark.parametrize("steps", [1, 2, 9, 250, 1000])
def test_ddpm_equals_the_closed_form(steps: int) -> None:
    schedule = Schedule()
    table = sampler_table("ddpm", schedule, steps, True)
    bars = np.cumprod([1 - (1e-4 + (0.02 - 1e-4) * i / 999) for i in range(1000)])
    random = np.random.default_rng(steps)
    for i in {0, steps // 3, steps // 2, steps - 1}:
        is_last = i == steps - 1
        x, eps, v, noise = random.standard_normal(4)
        bar_next = 1.0 if is_last else bars[table.timesteps[i + 1]]
        expected = ancestral_step(x, eps, v, noise, bars[table.timesteps[i]], bar_next, is_last)
        out = torch.tensor([eps, v]).view(1, 2, 1, 1)
        row = table.coefficients[i : i + 1].double()
        one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        got, _ = update_reference(x * one, out, row, 0 * one, noise * one)
        scale = abs(x) / math.sqrt(bars[table.timesteps[i]]) + 1  # x0's size, before it is weighted down
        assert abs(got.item() - expected) < 1e-6 * scale  # the table is rounded to float32


def test_ddpm_without_learned_variance_takes_beta() -> None:
    table = sampler_table("ddpm", Schedule(), 10, False)
    low, high = (table.coefficients[:, COLUMNS.index(name)] for name in ("log_variance_min", "log_variance_max"))
    torch.testing.assert_close(low, high, rtol=0, atol=0)


def test_ddpm_timesteps_are_those_of_improved_ddpm_for_every_number_of_steps() -> None:
    for steps in range(1, 1001):
        stride = 999 / (steps - 1) if steps > 1 else 1
        place, expected = 0.0, []
        for _ in range(steps):
            expected.append(round(place))
            place += stride
        assert sampler_table("ddpm", Schedule(), steps, True).timesteps == tuple(reversed(expected)), steps


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_number_of_steps_gives_finite_rows(name: str) -> None:
    clip = COLUMNS.index("clip")
    for steps in range(1, 1001):
        table = sampler_table(name, Schedule(), steps, True)
        finite = torch.cat([table.coefficients[:, :clip], table.coefficients[:, clip + 1 :]], dim=1).isfinite()
        assert len(table) == steps
        assert finite.all()


def test_only_ddpm_draws_noise_and_its_last_step_draws_none() -> None:
    noisy = {name: sampler_table(name, Schedule(), 5, True).is_noisy for name in SAMPLERS}
    assert noisy == {"ddim": (False,) * 5, "dpm++": (False,) * 5, "ddpm": (True, True, True, True, False)}


def test_an_unknown_sampler_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"one of ddim, ddpm, dpm\+\+, got 'euler'"):
        sampler_table("euler", Schedule(), 5, True)


@pytest.mark.parametrize("steps", [0, -1, 1001])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_number_of_steps_out_of_range_is_refused(name: str, steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps must be between 1 and 1000, got {steps}"):
        sampler_table(name, Schedule(), steps, True)
