"""The noise schedule as a value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from diffusers import DDIMScheduler

from dit_serve.models.sampling.schedule import Schedule


@pytest.mark.parametrize("curve", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_alphas_equal_diffusers(curve: str) -> None:
    theirs = DDIMScheduler(beta_schedule=curve).alphas_cumprod.numpy()
    np.testing.assert_allclose(Schedule(beta_schedule=curve).alphas_cumprod, theirs, rtol=2e-5)  # theirs are float32


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_ddim_timesteps_equal_diffusers_for_every_number_of_steps(spacing: str) -> None:
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    schedule = Schedule(timestep_spacing=spacing)
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        assert schedule.ddim_timesteps(steps).tolist() == scheduler.timesteps.tolist()[:steps], steps


def test_an_offset_past_the_last_timestep_is_refused() -> None:
    with pytest.raises(ValueError, match="leads to timestep 1000; the schedule ends at 999"):
        Schedule(steps_offset=1).ddim_timesteps(1000)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prediction_type": "flow"}, "prediction_type must be one of epsilon, sample, v_prediction, got 'flow'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be one of"),
        ({"timestep_spacing": "karras"}, "timestep_spacing must be one of"),
        ({"num_train_timesteps": 0}, "num_train_timesteps must be at least 1, got 0"),
        ({"trained_betas": (0.1, 0.2)}, "one value a training step, 1000, got 2"),
        ({"trained_betas": (0.1, 2.0), "num_train_timesteps": 2}, "trained_betas must lie between 0 and 1, got 2"),
        ({"beta_end": 1.5}, "beta_end must lie between 0 and 1, got 1.5"),
        ({"beta_start": math.nan}, "beta_start must lie between 0 and 1, got nan"),
        ({"steps_offset": -1}, "steps_offset must be at least 0, got -1"),
        ({"clip_sample": True, "clip_sample_range": 0.0}, "clip_sample_range must be positive"),
        ({"clip_sample": True, "clip_sample_range": math.inf}, "clip_sample_range must be positive and finite"),
    ],
)
def test_values_that_make_no_schedule_are_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule(**settings)
