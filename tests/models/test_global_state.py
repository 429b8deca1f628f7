"""What a host program has set for its own tensors changes no bit of a picture, and is found as it was left."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from dit_serve import Pipeline, SampleSpec, load_pipeline

Setting = Callable[[], AbstractContextManager[object]]
LOAD = partial(load_pipeline, "digits-64", device="cpu", dtype="float32", modulation_cache_bytes=1 << 24)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def seeded() -> Iterator[None]:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.manual_seed(1234)
    random.seed(1234)
    np.random.seed(1234)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


SETTINGS: dict[str, Setting] = {
    "float64": partial(default_dtype, torch.float64),
    "bfloat16": partial(default_dtype, torch.bfloat16),
    "a meta device": partial(torch.device, "meta"),
    "a default device": partial(default_device, "meta"),
    "autocast": partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients": torch.enable_grad,
    "deterministic algorithms": deterministic,
    "seeds": seeded,
    "strict numpy": partial(np.errstate, all="raise"),
}


def settings() -> tuple[Any, ...]:
    """All that a host may have set, as it is now."""
    return (
        torch.get_default_dtype(), torch.get_default_device(),
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(), torch.get_num_threads(), torch.backends.cudnn.deterministic,
        torch.get_rng_state().numpy().tobytes(), random.getstate(), np.random.get_state()[1].tobytes(), np.geterr(),
    )


def everything(pipeline: Pipeline) -> list[bytes]:
    """Pictures of all samplers, guided and not, latents, and looks before and after a step."""
    made: list[np.ndarray] = []
    for steps, sampler in enumerate(pipeline.info.samplers, start=1):
        made += pipeline.generate([7], [0], steps=steps, sampler=sampler, output_type="latents")
    made += pipeline.generate([7, 3], [0, 5], steps=2, sampler="ddpm", guidance_scale=1.0)
    sample = pipeline.begin(SampleSpec(class_id=1, seed=1, steps=3, sampler="ddpm"))
    looks = [pipeline.preview(sample)]
    pipeline.step([sample])
    looks.append(pipeline.preview(sample))
    return [each.tobytes() for each in (*made, *(look() for look in looks))]


@pytest.fixture(scope="module")
def expected() -> list[bytes]:
    return everything(LOAD())


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_model_that_is_loaded_and_used_under_a_setting_gives_the_same_bits(
    expected: list[bytes], setting: Setting
) -> None:
    with setting():
        before = settings()
        pipeline = LOAD()
        made = everything(pipeline)
        after = settings()
    assert after == before
    assert made == expected
    assert everything(pipeline) == expected, "a model that was loaded under it differs without it"


@pytest.mark.gpu
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_no_setting_changes_a_bit_on_a_card(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or deterministic algorithms refuse every product
    load = partial(load_pipeline, "digits-64", device="cuda")
    expected = everything(load())
    with setting(), torch.autocast("cuda", dtype=torch.float16, enabled=setting is SETTINGS["autocast"]):
        pipeline = load()
        pipeline.warm_up()
        made = everything(pipeline)
    assert made == expected
