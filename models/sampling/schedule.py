"""The noise schedule of a trained model, and the timesteps that a sampler visits on it.

A `Schedule` is what diffusers writes into scheduler_config.json, as a value: how noise was added in training (betas),
what the network predicts, and how N steps are spread over the training steps. Everything is float64 numpy; nothing
here knows torch, networks or update rules (see sampler.py).

References: DDPM (arXiv 2006.11239), section 2; Improved DDPM (arXiv 2102.09672), eq. 17 and section 4; "Common
Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891), table 2, for the spacings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "linspace", "trailing")
PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")
SCHEDULER_CLASSES = ("DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler", "PNDMScheduler")

# What diffusers' classes may say beside a Schedule's own fields: the only values that mean nothing to our samplers.
# Values that choose an update rule (solver_order and the like) are listed with those that our samplers compute.
NEUTRAL_SETTINGS: Mapping[str, tuple[object, ...]] = {
    "rescale_betas_zero_snr": (False,),
    "thresholding": (False,),
    "use_karras_sigmas": (False, None),
    "use_exponential_sigmas": (False, None),
    "use_beta_sigmas": (False, None),
    "use_lu_lambdas": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "euler_at_final": (False,),
    "final_sigmas_type": ("zero",),
    "algorithm_type": ("dpmsolver++",),
    "solver_type": ("midpoint",),
    "solver_order": (2,),
    "skip_prk_steps": (True, False),
}
# Settings that act only together with one refused above, or on a rule that is chosen by name per request.
IGNORED_SETTINGS = frozenset(
    "dynamic_thresholding_ratio sample_max_value variance_type lower_order_final lambda_min_clipped flow_shift "
    "time_shift_type".split()
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How noise was added in training, and how a sampler walks back; the defaults are the published DiT checkpoints'.

    Attributes:
        num_train_timesteps: steps S of the training schedule.
        beta_start: variance added by the first step.
        beta_end: variance added by the last step.
        beta_schedule: the curve between them, one of BETA_SCHEDULES.
        trained_betas: all S variances, instead of a curve.
        timestep_spacing: how N of the S timesteps are chosen for DDIM, one of SPACINGS.
        steps_offset: added to every timestep of the "leading" spacing.
        set_alpha_to_one: whether the last step ends in x0 itself, or at the noise level of timestep 0.
        clip_sample: whether each prediction of x0 is clamped to ±clip_sample_range.
        clip_sample_range: that bound.
        prediction_type: what the network's output means, one of PREDICTION_TYPES.

    Raises:
        ValueError: a value is not one of those allowed.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    clip_sample: bool = False
    clip_sample_range: float = 1.0
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("beta_schedule", BETA_SCHEDULES),
            ("timestep_spacing", SPACINGS),
            ("prediction_type", PREDICTION_TYPES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.num_train_timesteps < 1:
            raise ValueError(f"num_train_timesteps must be at least 1, got {self.num_train_timesteps}")
        if self.steps_offset < 0:
            raise ValueError(f"steps_offset must be at least 0, got {self.steps_offset}")
        if self.clip_sample_range <= 0:
            raise ValueError(f"clip_sample_range must be positive, got {self.clip_sample_range}")
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas must have one value a training step, {self.num_train_timesteps}, "
                f"got {len(self.trained_betas)}"
            )
        if not (0 < self.betas.min() and self.betas.max() < 1):
            raise ValueError(f"betas must lie between 0 and 1, got {self.betas.min():g} to {self.betas.max():g}")

    @property
    def betas(self) -> NDArray[np.float64]:
        """Variance added by each training step, (S,)."""
        steps = self.num_train_timesteps
        if self.trained_betas is not None:
            return np.array(self.trained_betas, dtype=np.float64)
        if self.beta_schedule == "linear":
            return np.linspace(self.beta_start, self.beta_end, steps)
        if self.beta_schedule == "scaled_linear":
            roots: NDArray[np.float64] = np.linspace(self.beta_start**0.5, self.beta_end**0.5, steps)
            return roots * roots
        bar = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        return np.array([min(1 - after / before, 0.999) for before, after in pairwise(bar)])  # Improved DDPM, eq. 17

    @property
    def alphas_cumprod(self) -> NDArray[np.float64]:
        """Share of the image's variance left at each timestep, ᾱ_t, (S,)."""
        return np.cumprod(1.0 - self.betas, dtype=np.float64)

    def ddim_timesteps(self, steps: int) -> NDArray[np.int64]:
        """Return the `steps` timesteps of this spacing, from noise to image, as diffusers' DDIMScheduler chooses them.

        Raises:
            ValueError: steps is not between 1 and num_train_timesteps, or the offset leads past the last timestep.
        """
        self.check_steps(steps)
        count = self.num_train_timesteps
        timesteps: NDArray[np.float64]
        if self.timestep_spacing == "leading":
            timesteps = np.arange(steps, dtype=np.float64) * (count // steps) + self.steps_offset
        elif self.timestep_spacing == "linspace":
            timesteps = np.linspace(0, count - 1, steps).round()
        else:
            timesteps = np.sort(np.round(np.arange(count, 0, -count / steps))[:steps]) - 1
        if timesteps.max() >= count:
            raise ValueError(
                f"steps {steps} with steps_offset {self.steps_offset} leads to timestep {timesteps.max():.0f}; "
                f"the schedule ends at {count - 1}: ask for fewer steps"
            )
        return timesteps[::-1].astype(np.int64)

    def respaced_timesteps(self, steps: int) -> NDArray[np.int64]:
        """Return `steps` timesteps spread evenly over all, ends included, from noise to image.

        Improved DDPM (arXiv 2102.09672), section 4.

        Raises:
            ValueError: steps is not between 1 and num_train_timesteps.
        """
        self.check_steps(steps)
        stride = (self.num_train_timesteps - 1) / (steps - 1) if steps > 1 else 1.0
        places = np.add.accumulate([0.0] + [stride] * (steps - 1))  # summed, not multiplied: ties round as published
        return places.round()[::-1].astype(np.int64)

    def check_steps(self, steps: int) -> None:
        """Refuse a number of steps that this schedule cannot be walked in.

        Raises:
            ValueError: steps is not between 1 and num_train_timesteps.
        """
        if not 1 <= steps <= self.num_train_timesteps:
            raise ValueError(f"steps must be between 1 and {self.num_train_timesteps}, got {steps}")

    @classmethod
    def from_diffusers(cls, config: Mapping[str, object]) -> Schedule:
        """Return the schedule that a diffusers scheduler_config.json describes.

        Raises:
            ValueError: the class or a setting is none that the samplers here compute; all such settings are named.
        """
        name = config.get("_class_name")
        if name not in SCHEDULER_CLASSES:
            raise ValueError(f"_class_name must be one of {', '.join(SCHEDULER_CLASSES)}, got {name!r}")
        own = {field.name for field in fields(cls)}
        settings = {key: value for key, value in config.items() if not key.startswith("_")}
        refused = sorted(
            f"{key}={value!r}"
            for key, value in settings.items()
            if key not in own and key not in IGNORED_SETTINGS and value not in NEUTRAL_SETTINGS.get(key, ())
        )
        if refused:
            raise ValueError(f"scheduler settings that cannot be honoured: {', '.join(refused)}")
        return cls(**_typed({**_class_defaults(str(name)), **{k: v for k, v in settings.items() if k in own}}))


def _class_defaults(name: str) -> dict[str, object]:
    """Return what diffusers assumes where a config of class `name` is silent and our own default differs."""
    if name == "DPMSolverMultistepScheduler":
        return {"timestep_spacing": "linspace"}
    if name == "PNDMScheduler":
        return {"set_alpha_to_one": False}
    return {"clip_sample": True}


def _typed(settings: Mapping[str, object]) -> dict[str, Any]:
    """Return the settings with each value's type checked against its field; a list of betas becomes a tuple of floats.

    Raises:
        ValueError: a value has the wrong type.
    """
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        if key == "trained_betas":
            ok = value is None or (isinstance(value, list) and all(isinstance(b, (int, float)) for b in value))
            checked[key] = tuple(float(b) for b in value) if ok and isinstance(value, list) else None
        else:
            kind = type(getattr(Schedule(), key))
            ok = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
            ok = ok or (kind is float and isinstance(value, int) and not isinstance(value, bool))
            checked[key] = float(value) if ok and kind is float and isinstance(value, (int, float)) else value
        if not ok:
            raise ValueError(f"scheduler setting {key} has a value of the wrong type: {value!r}")
    return checked
