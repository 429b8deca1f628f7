"""The noise schedule in a scheduler_config.json, whichever of diffusers' classes wrote it.

A file of diffusers' says two things: how noise was added in training, and an update rule. The first is read, with the
defaults of the class where the file is silent. The second is not: a request names its sampler. So every class that
samples a model trained on betas is taken, and what it says of its rule is ignored with one line in the log. What would
change the noise itself, or what the network is asked, and is not computed here is refused by name.

Knows no sampler and no network. References: diffusers' schedulers, whose signatures a test compares with SCHEDULERS.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from dit_serve.models.checkpoints.files import read_config
from dit_serve.models.errors import CheckpointError, listed, printable
from dit_serve.models.sampling.schedule import Schedule

_MAX_TRAIN_STEPS = 100_000  # a table of them is made at once; nobody trains with more than 4000
_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
}
_PLAIN = {**_NOISE, "prediction_type": "epsilon"}
_STABLE = {**_PLAIN, "beta_start": 0.00085, "beta_end": 0.012}  # Stable Diffusion's ends
_LEADING: Mapping[str, object] = {"timestep_spacing": "leading", "steps_offset": 0}
_LINSPACE: Mapping[str, object] = {"timestep_spacing": "linspace", "steps_offset": 0}
_CLIPPED: Mapping[str, object] = {"clip_sample": True, "clip_sample_range": 1.0}
_UNCLIPPED: Mapping[str, object] = {"clip_sample": False, "clip_sample_range": 1.0}
_DDIM = {**_PLAIN, **_LEADING, **_CLIPPED, "set_alpha_to_one": True}
_DDPM = {**_PLAIN, **_LEADING, **_CLIPPED}
_FEW_STEPS = {**_STABLE, **_LEADING, **_UNCLIPPED, "beta_schedule": "scaled_linear", "set_alpha_to_one": True}

# Of each class the fields of a Schedule that it has, and what it assumes where a file is silent.
SCHEDULERS: Mapping[str, Mapping[str, object]] = {
    "DDIMScheduler": _DDIM,
    "DDIMInverseScheduler": _DDIM,
    "DDIMParallelScheduler": _DDIM,
    "DDPMScheduler": _DDPM,
    "DDPMParallelScheduler": _DDPM,
    "DEISMultistepScheduler": {**_PLAIN, **_LINSPACE},
    "DPMSolverMultistepInverseScheduler": {**_PLAIN, **_LINSPACE},
    "DPMSolverMultistepScheduler": {**_PLAIN, **_LINSPACE},
    "DPMSolverSDEScheduler": {**_STABLE, **_LINSPACE},
    "DPMSolverSinglestepScheduler": _PLAIN,
    "EulerAncestralDiscreteScheduler": {**_PLAIN, **_LINSPACE},
    "EulerDiscreteScheduler": {**_PLAIN, **_LINSPACE},
    "HeunDiscreteScheduler": {**_STABLE, **_LINSPACE, **_UNCLIPPED},
    "KDPM2AncestralDiscreteScheduler": {**_STABLE, **_LINSPACE},
    "KDPM2DiscreteScheduler": {**_STABLE, **_LINSPACE},
    "LCMScheduler": _FEW_STEPS,
    "LMSDiscreteScheduler": {**_PLAIN, **_LINSPACE},
    "PNDMScheduler": {**_PLAIN, **_LEADING, "set_alpha_to_one": False},
    "RePaintScheduler": {**_NOISE, "clip_sample": True},
    "SASolverScheduler": {**_PLAIN, **_LINSPACE},
    "TCDScheduler": _FEW_STEPS,
    "UnCLIPScheduler": {
        **_CLIPPED,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "beta_schedule": "squaredcos_cap_v2",
    },
    "UniPCMultistepScheduler": {**_PLAIN, **_LINSPACE},
}
_OTHERS: Mapping[str, str] = {  # by the beginning of a class's name: why no schedule can be read from it
    "CogVideoX": "shifts its noise levels (snr_shift_scale)",
    "ConsistencyDecoder": "is for a consistency model",
    "CMStochastic": "is for a consistency model",
    "CosineDPM": "is for sigmas with EDM's preconditioning",
    "EDM": "is for sigmas with EDM's preconditioning",
    "Flow": "is for flow matching",
    "IPNDM": "has noise levels of its own, not a model's",
}
# Settings that change the noise or what the network is asked, and the only values with which they do nothing.
_DECISIVE: Mapping[str, tuple[object, ...]] = {
    "rescale_betas_zero_snr": (False, None),
    "thresholding": (False, None),
    "use_flow_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "shift_terminal": (None,),
    "snr_shift_scale": (1,),
    "timestep_type": ("discrete", None),
    "predict_epsilon": (True, None),  # before diffusers 0.11
    "timestep_values": (None,),  # before 0.3
}
_WITHOUT_EFFECT = frozenset(  # of their own: they act together with one of those above, or never did
    "dynamic_thresholding_ratio sample_max_value flow_shift time_shift_type tensor_format".split()
)
_UPDATE_RULE = frozenset(
    "algorithm_type corrector_order disable_corrector eta euler_at_final final_sigmas_type interpolation_type "
    "lambda_min_clipped lower_order_final noise_sampler_seed original_inference_steps predict_x0 predictor_order "
    "set_alpha_to_zero sigma_max sigma_min skip_prk_steps solver_order solver_p solver_type tau_func timestep_scaling "
    "use_beta_sigmas use_exponential_sigmas use_karras_sigmas use_lu_lambdas variance_type".split()
)
_OUR_RULES = ("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler")


def read_schedule(folder: Path, class_name: str | None) -> Schedule:
    """Return the schedule in the folder's scheduler_config.json; the published DiTs' where a pipeline has none.

    Args:
        class_name: what model_index.json calls the scheduler, None for a pipeline without; the file itself counts.

    Raises:
        CheckpointError: a setting cannot be honoured (all are named).
    """
    log = logging.getLogger("dit.models")
    if class_name is None:
        log.info("%s: the pipeline has no scheduler; the published DiTs' noise schedule is assumed", folder.parent)
        return Schedule()
    path = folder / "scheduler_config.json"
    config = {"_class_name": class_name, **read_config(path)}
    own_name = config["_class_name"]
    if own_name != class_name:
        told = listed([str(own_name)], 80)
        log.info("%s: is a %s, model_index.json says %s; the file counts", path, told, class_name)
    steps = config.get("num_train_timesteps", 1000)
    if type(steps) is not int or not 1 <= steps <= _MAX_TRAIN_STEPS:
        told = printable(repr(steps), 40)
        raise CheckpointError(f"{path}: num_train_timesteps must be 1 to {_MAX_TRAIN_STEPS}, got {told}: correct it")
    try:
        schedule, ignored = schedule_of(config)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: {error}: choose another scheduler, or edit the file") from error
    if ignored or own_name not in _OUR_RULES:
        told = listed(ignored, 400) or "nothing is said of it"
        log.info("%s: a request names its sampler; the update rule of %s is ignored: %s", path, own_name, told)
    return schedule


def schedule_of(config: Mapping[str, object]) -> tuple[Schedule, list[str]]:
    """Return the schedule that a scheduler's config describes, and what in it is ignored, as "key=value".

    Raises:
        ValueError: the class has no such schedule, or a setting would change it in a way that is not computed here; all
            such settings are named.
    """
    name = config.get("_class_name")
    if not isinstance(name, str) or name not in SCHEDULERS:
        told = listed([str(name)], 40)
        raise ValueError(f"{told} {_why_not(str(name))}, and a diffusion schedule of betas is needed")
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    own, defaults = {field.name for field in fields(Schedule)}, SCHEDULERS[name]
    known = own | _WITHOUT_EFFECT | _UPDATE_RULE
    refused = sorted(
        f"{key}={str(value)[:40]}"
        for key, value in settings.items()
        if key not in known and value not in _DECISIVE.get(key, ())
    )
    if refused:
        raise ValueError(f"scheduler settings that cannot be honoured: {listed(refused, 90)}")
    # what of another class's walk is in the file is there for that class: diffusers keeps it when classes are exchanged
    read = {key: value for key, value in settings.items() if key in own and key in _PLAIN.keys() | defaults.keys()}
    ignored = sorted(f"{key}={str(settings[key])[:40]}" for key in settings.keys() & _UPDATE_RULE)
    return Schedule(**_typed({**defaults, **read})), ignored


def _why_not(name: str) -> str:
    return next((why for start, why in _OTHERS.items() if name.startswith(start)), "is no scheduler that is known here")


def _typed(settings: Mapping[str, object]) -> dict[str, Any]:
    """Return the settings with each value's type checked against its field; a list of betas becomes a tuple of floats.

    Raises:
        ValueError: a value has the wrong type.
    """
    checked: dict[str, Any] = {}
    for key, value in settings.items():
        kind = type(getattr(Schedule(), key))
        if key == "trained_betas":
            ok = value is None or (isinstance(value, list) and all(map(_is_number, value)))
            checked[key] = tuple(float(beta) for beta in value) if isinstance(value, list) and ok else None
        elif kind is float:
            ok = _is_number(value)
            checked[key] = float(value) if ok and isinstance(value, int | float) else math.nan
        else:
            ok, checked[key] = type(value) is kind, value
        if not ok:
            raise ValueError(f"scheduler setting {key} has a value of the wrong type: {str(value)[:80]!r}")
        if type(value) is int and abs(value) > _MAX_TRAIN_STEPS:
            raise ValueError(f"scheduler setting {key} is beyond {_MAX_TRAIN_STEPS}: {printable(value, 40)}")
    return checked


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
