"""The noise schedule of a trained model, and the timesteps that a sampler visits on it.

A `Schedule` is a value: how noise was added in training (betas), what the network predicts, and how N steps are spread
over the training steps. Everything is float64 numpy; nothing here knows torch, networks, update rules (see sampler.py)
or the files that say it (see checkpoints/components/scheduler_config.py).

References: DDPM (arXiv 2006.11239), section 2; Improved DDPM (arXiv 2102.09672), eq. 17 and section 4; "Common
Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891), table 2, for the spacings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dit_serve.models.scalars import shown

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "linspace", "trailing")
PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


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
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {shown(getattr(self, name))}")
        if self.num_train_timesteps < 1:
            raise ValueError(f"num_train_timesteps must be at least 1, got {self.num_train_timesteps}")
        if self.steps_offset < 0:
            raise ValueError(f"steps_offset must be at least 0, got {self.steps_offset}")
        if self.clip_sample and not 0 < self.clip_sample_range < math.inf:
            raise ValueError(f"clip_sample_range must be positive and finite, got {self.clip_sample_range}")
        if self.trained_betas is not None and len(self.trained_betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas must have one value a training step, {self.num_train_timesteps}, "
                f"got {len(self.trained_betas)}"
            )
        for name, value in self._variances():
            if not 0 < value < 1:  # nor is NaN
                raise ValueError(f"{name} must lie between 0 and 1, got {value:g}")

    def _variances(self) -> list[tuple[str, float]]:
        """The variances that a schedule was given, each with the field's name; a curve of its own needs none."""
        if self.trained_betas is not None:
            return [("trained_betas", beta) for beta in self.trained_betas]
        if self.beta_schedule == "squaredcos_cap_v2":
            return []
        return [("beta_start", self.beta_start), ("beta_end", self.beta_end)]

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
