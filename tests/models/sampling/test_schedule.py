"""The noise schedule as a value, and what of a diffusers scheduler config it honours or refuses."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers import DDIMScheduler

from dit_serve.models.sampling.schedule import Schedule

PUBLISHED = {  # scheduler_config.json as the published DiT folders have it
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.12.0.dev0",
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "trained_betas": None,
}


def test_the_published_config_is_the_default_schedule() -> None:
    assert Schedule.from_diffusers(PUBLISHED) == Schedule()


def test_everything_that_diffusers_writes_by_default_is_understood() -> None:
    schedule = Schedule.from_diffusers({"_class_name": "DDIMScheduler", **dict(DDIMScheduler().config)})
    assert schedule == Schedule(clip_sample=True)


def test_a_ddim_config_that_is_silent_on_clipping_clips_as_diffusers_does() -> None:
    assert Schedule.from_diffusers({"_class_name": "DDIMScheduler"}).clip_sample


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
        ({"thresholding": True}, "thresholding=True"),
        ({"rescale_betas_zero_snr": True, "new_idea": 3}, "new_idea=3, rescale_betas_zero_snr=True"),
        ({"_class_name": "EulerDiscreteScheduler"}, "EulerDiscreteScheduler"),
        ({"prediction_type": "flow"}, "prediction_type must be one of epsilon, sample, v_prediction, got 'flow'"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be one of"),
        ({"timestep_spacing": "karras"}, "timestep_spacing must be one of"),
        ({"num_train_timesteps": 0}, "num_train_timesteps must be at least 1, got 0"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps has a value of the wrong type: '1000'"),
        ({"clip_sample": 1}, "clip_sample has a value of the wrong type: 1"),
        ({"beta_start": True}, "beta_start has a value of the wrong type: True"),
        ({"trained_betas": [0.1, "x"]}, "trained_betas has a value of the wrong type"),
        ({"trained_betas": [0.1, 0.2]}, "one value a training step, 1000, got 2"),
        ({"beta_end": 1.5}, "betas must lie between 0 and 1"),
        ({"steps_offset": -1}, "steps_offset must be at least 0, got -1"),
        ({"clip_sample_range": 0.0}, "clip_sample_range must be positive"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule.from_diffusers({**PUBLISHED, **settings})
