"""The twelve models cost what the paper says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.registry import demo_path, multiply_adds, parameter_count, variant_name
from tests.models.published import VARIANTS


@pytest.mark.parametrize(
    ("name", "giga"), [("DiT-S/4", 1.4), ("DiT-B/4", 5.6), ("DiT-L/4", 19.7), ("DiT-XL/4", 29.1), ("DiT-XL/2", 118.6)]
)
def test_multiply_adds_equal_the_papers_table(name: str, giga: float) -> None:
    assert multiply_adds(VARIANTS[name]) / 1e9 == pytest.approx(giga, abs=0.06)  # printed to one decimal


def test_multiply_adds_at_512_pixels_equal_the_paper() -> None:
    assert multiply_adds(replace(VARIANTS["DiT-XL/2"], input_size=64)) / 1e9 == pytest.approx(525, abs=0.6)


def test_sizes_run_from_33_to_675_million_parameters_and_from_0_4_to_119_giga() -> None:
    parameters = [parameter_count(config) / 1e6 for config in VARIANTS.values()]
    costs = [multiply_adds(config) / 1e9 for config in VARIANTS.values()]
    assert len(parameters) == 12
    assert (round(min(parameters)), round(variant_parameters("DiT-XL/2"))) == (33, 675)
    assert (round(min(costs), 1), round(max(costs))) == (0.4, 119)


def variant_parameters(name: str) -> float:
    return parameter_count(VARIANTS[name]) / 1e6


@pytest.mark.parametrize("per_block", [False, True])
@pytest.mark.parametrize("learn_sigma", [False, True])
def test_the_count_is_that_of_a_real_model(per_block: bool, learn_sigma: bool) -> None:
    config = DiTConfig(
        input_size=8, hidden_size=48, depth=3, num_heads=4, num_classes=10, mlp_ratio=2.5,
        per_block_embedders=per_block, learn_sigma=learn_sigma,
    )
    assert parameter_count(config) == sum(tensor.numel() for tensor in DiT(config).state_dict().values())


def test_a_variant_is_known_by_its_shape_at_any_resolution() -> None:
    assert [variant_name(replace(config, input_size=64)) for config in VARIANTS.values()] == list(VARIANTS)
    assert variant_name(DiTConfig(hidden_size=48, num_heads=4)) is None


def test_only_demo_names_have_a_demo_folder() -> None:
    assert demo_path("digits-64") is not None
    assert demo_path("facebook/DiT-XL-2-256") is None
