"""The twelve models cost what the paper says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dit_serve.models.architecture import CONDITIONED, Conditioned
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


@pytest.mark.parametrize(
    ("conditioning", "giga", "millions"),
    [("in-context", 119.4, 449), ("cross-attention", 137.6, 598), ("adaln", 118.6, 600), ("adaln-zero", 118.6, 675)],
)
def test_the_four_blocks_cost_what_the_paper_says(conditioning: Conditioned, giga: float, millions: int) -> None:
    config = replace(VARIANTS["DiT-XL/2"], conditioning=conditioning)
    assert multiply_adds(config) / 1e9 == pytest.approx(giga, rel=0.001)
    assert int(parameter_count(config) / 1e6) == pytest.approx(millions, abs=1)
    with torch.device("meta"):
        assert parameter_count(config) == sum(tensor.numel() for tensor in DiT(config).state_dict().values())


@pytest.mark.parametrize("conditioning", CONDITIONED)
def test_the_cost_is_that_of_a_real_pass(conditioning: Conditioned) -> None:
    config = DiTConfig(
        input_size=8, hidden_size=48, depth=2, num_heads=4, num_classes=10, mlp_ratio=2.5, conditioning=conditioning
    )
    x, t, y = torch.zeros(1, 4, 8, 8), torch.tensor([7]), torch.tensor([3])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # with gradients nothing is fused
        DiT(config)(x, t, y)
    assert counter.get_total_flops() == 2 * multiply_adds(config)


def variant_parameters(name: str) -> float:
    return parameter_count(VARIANTS[name]) / 1e6


@pytest.mark.parametrize(
    ("conditioning", "per_block"), [("adaln-zero", True), *((each, False) for each in CONDITIONED)]
)
@pytest.mark.parametrize("learn_sigma", [False, True])
def test_the_count_is_that_of_a_real_model(conditioning: Conditioned, per_block: bool, learn_sigma: bool) -> None:
    config = DiTConfig(
        input_size=8, hidden_size=48, depth=3, num_heads=4, num_classes=10, mlp_ratio=2.5,
        per_block_embedders=per_block, learn_sigma=learn_sigma, conditioning=conditioning,
    )
    assert parameter_count(config) == sum(tensor.numel() for tensor in DiT(config).state_dict().values())


def test_a_variant_is_known_by_its_shape_at_any_resolution() -> None:
    assert [variant_name(replace(config, input_size=64)) for config in VARIANTS.values()] == list(VARIANTS)
    assert variant_name(DiTConfig(hidden_size=48, num_heads=4)) is None


def test_only_demo_names_have_a_demo_folder() -> None:
    assert demo_path("digits-64") is not None
    assert demo_path("facebook/DiT-XL-2-256") is None
