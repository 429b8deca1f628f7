"""What is read, ignored and refused of a scheduler's config, whichever of diffusers' classes wrote it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import diffusers
import numpy as np
import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, SchedulerMixin

from dit_serve.models.checkpoints.components.scheduler_config import SCHEDULERS, read_schedule, schedule_of
from dit_serve.models.errors import CheckpointError
from dit_serve.models.sampling.schedule import Schedule
from tests.models.checkpoints.components.configs import write

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
SOURCES = Path(diffusers.__path__[0]) / "schedulers"
NEEDS_MORE = "DPMSolverSDEScheduler"  # torchsde; its signature is read from its source
SHIFTED = {"CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"}  # have betas, and noise levels that are moved


def signature(class_name: str) -> dict[str, object]:
    """A scheduler's arguments and their defaults."""
    if class_name == NEEDS_MORE:
        tree = ast.parse((SOURCES / "scheduling_dpmsolver_sde.py").read_text(encoding="utf-8"))
        (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == class_name)
        (init,) = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
        names = [argument.arg for argument in init.args.args[1:]]
        return dict(zip(names, map(ast.literal_eval, init.args.defaults), strict=True))
    parameters = inspect.signature(getattr(diffusers, class_name).__init__).parameters.values()
    return {parameter.name: parameter.default for parameter in list(parameters)[1:] if parameter.name != "kwargs"}


def written(folder: Path, scheduler: SchedulerMixin) -> Path:
    scheduler.save_pretrained(folder)
    return folder


def test_every_class_of_diffusers_that_has_betas_is_read() -> None:
    found = {NEEDS_MORE}
    for path in SOURCES.glob("scheduling_*.py"):
        if path.name not in ("scheduling_dpmsolver_sde.py", "scheduling_cosine_dpmsolver_multistep.py"):  # torchsde
            module = importlib.import_module(f"diffusers.schedulers.{path.stem}")
            classes = (kind for _, kind in inspect.getmembers(module, inspect.isclass))
            found |= {
                kind.__name__
                for kind in classes
                if issubclass(kind, SchedulerMixin) and "beta_schedule" in inspect.signature(kind.__init__).parameters
            }
    assert found - SHIFTED == set(SCHEDULERS)


@pytest.mark.parametrize("class_name", SCHEDULERS)
def test_the_table_has_the_defaults_of_each_class(class_name: str) -> None:
    own = {field.name for field in fields(Schedule)}
    assert {key: value for key, value in signature(class_name).items() if key in own} == SCHEDULERS[class_name]


@pytest.mark.filterwarnings("ignore:__array.*:DeprecationWarning")  # diffusers' own, on numpy 2
@pytest.mark.parametrize("class_name", sorted(SCHEDULERS.keys() - {NEEDS_MORE}))
@pytest.mark.parametrize("change", [{}, {"num_train_timesteps": 500, "beta_schedule": "squaredcos_cap_v2"}], ids=str)
def test_the_noise_is_diffusers_own(tmp_path: Path, class_name: str, change: Mapping[str, object]) -> None:
    scheduler = getattr(diffusers, class_name)(**change)
    schedule = read_schedule(written(tmp_path, scheduler), class_name)
    theirs = scheduler.alphas_cumprod.numpy()
    np.testing.assert_allclose(schedule.alphas_cumprod, theirs, rtol=5e-5)  # theirs are float32, a product of hundreds
    own = {key: value for key, value in scheduler.config.items() if key in SCHEDULERS[class_name]}
    assert {key: getattr(schedule, key) for key in own} == own


def test_a_silent_config_of_a_class_that_cannot_be_made_here_is_read() -> None:
    schedule, ignored = schedule_of({"_class_name": NEEDS_MORE, "noise_sampler_seed": 3})
    assert (schedule.beta_start, schedule.timestep_spacing, ignored) == (0.00085, "linspace", ["noise_sampler_seed=3"])


def test_the_published_config_is_the_default_schedule_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "scheduler_config.json", PUBLISHED)
    with caplog.at_level("INFO", "dit.models"):
        assert read_schedule(tmp_path, "DDIMScheduler") == Schedule()
        assert read_schedule(written(tmp_path, DDIMScheduler()), "DDIMScheduler") == Schedule(clip_sample=True)
    assert not caplog.records


def test_an_update_rule_is_ignored_with_one_line_that_names_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = DPMSolverMultistepScheduler.from_config(DDIMScheduler(clip_sample=False).config, use_karras_sigmas=True)
    assert "-Infinity" in (written(tmp_path, scheduler) / "scheduler_config.json").read_text()
    with caplog.at_level("INFO", "dit.models"):
        found = read_schedule(tmp_path, "DPMSolverMultistepScheduler")
    assert found == Schedule(timestep_spacing="linspace")
    (line,) = [record.message for record in caplog.records]
    assert "the update rule of DPMSolverMultistepScheduler is ignored: algorithm_type=dpmsolver++, " in line
    assert "use_karras_sigmas=True" in line
    assert "lambda_min_clipped=-inf" in line


def test_what_another_class_left_in_the_file_is_not_taken_for_its_own(tmp_path: Path) -> None:
    clipped = DDIMScheduler(set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing")
    folder = written(tmp_path, EulerDiscreteScheduler.from_config(clipped.config))
    assert "set_alpha_to_one" in json.loads((folder / "scheduler_config.json").read_text())
    assert read_schedule(folder, "EulerDiscreteScheduler") == Schedule(steps_offset=1, timestep_spacing="trailing")


def test_the_file_counts_where_the_index_says_another_class(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "scheduler_config.json", {"_class_name": "DDPMScheduler", "clip_sample": False})
    with caplog.at_level("INFO", "dit.models"):
        assert read_schedule(tmp_path, "PNDMScheduler") == Schedule()
    words = "is a DDPMScheduler, model_index.json says PNDMScheduler; the file counts"
    assert [record.message for record in caplog.records] == [f"{path}: {words}"]


def test_a_file_that_says_no_class_is_of_the_indexs(tmp_path: Path) -> None:
    write(tmp_path / "scheduler_config.json", {})
    assert read_schedule(tmp_path, "PNDMScheduler") == Schedule(set_alpha_to_one=False)


def test_a_pipeline_without_a_scheduler_has_the_published_schedule(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "dit.models"):
        assert read_schedule(tmp_path / "scheduler", None) == Schedule()
    assert "has no scheduler; the published DiTs' noise schedule is assumed" in caplog.text


def test_infinity_is_refused_only_where_it_would_be_used() -> None:
    for harmless in ("lambda_min_clipped", "sample_max_value", "clip_sample_range"):
        assert schedule_of({**PUBLISHED, harmless: -math.inf})[0].beta_end == 0.02
    cosine = {**PUBLISHED, "beta_schedule": "squaredcos_cap_v2", "beta_start": -math.inf}
    assert schedule_of(cosine)[0].beta_schedule == "squaredcos_cap_v2"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"thresholding": True}, "thresholding=True"),
        ({"rescale_betas_zero_snr": True, "new_idea": 3}, "new_idea=3, rescale_betas_zero_snr=True"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas=True"),
        ({"timestep_type": "continuous"}, "timestep_type=continuous"),
        ({"predict_epsilon": False}, "predict_epsilon=False"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler is for flow matching"),
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler is for sigmas with EDM's preconditioning"),
        ({"_class_name": "CosineDPMSolverMultistepScheduler"}, "with EDM's preconditioning"),
        ({"_class_name": "IPNDMScheduler"}, "IPNDMScheduler has noise levels of its own"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "is for a consistency model"),
        ({"_class_name": "CogVideoXDDIMScheduler"}, "snr_shift_scale"),
        ({"_class_name": "MyScheduler"}, "MyScheduler is no scheduler that is known here"),
        ({"_class_name": ["DDIMScheduler"]}, "is no scheduler that is known here"),
        ({"prediction_type": "flow_prediction"}, "prediction_type must be one of epsilon, sample, v_prediction, got"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be one of"),
        ({"timestep_spacing": "karras"}, "timestep_spacing must be one of"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps must be 1 to 100000, got '1000'"),
        ({"num_train_timesteps": math.inf}, "num_train_timesteps must be 1 to 100000, got inf"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps must be 1 to 100000, got 1000000000"),
        ({"clip_sample": 1}, "clip_sample has a value of the wrong type: '1'"),
        ({"beta_start": True}, "beta_start has a value of the wrong type: 'True'"),
        ({"beta_end": math.inf}, "beta_end must lie between 0 and 1, got inf"),
        ({"beta_start": math.nan}, "beta_start must lie between 0 and 1, got nan"),
        ({"trained_betas": [0.1, "x"]}, "trained_betas has a value of the wrong type"),
        ({"trained_betas": "x"}, "trained_betas has a value of the wrong type"),
        ({"trained_betas": [0.1] * 999 + [math.nan]}, "trained_betas must lie between 0 and 1, got nan"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    path = write(tmp_path / "scheduler_config.json", {**PUBLISHED, **settings})
    with pytest.raises(CheckpointError) as caught:
        read_schedule(tmp_path, "DDIMScheduler")
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert len(str(caught.value)) - len(str(path)) < 200
