"""groupnorm_silu against the formula in float64, and how its launches divide an image."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.groupnorm_silu import BLOCKS, PROGRAMS, division, groupnorm_silu

DECODER = [(512, 32), (512, 64), (512, 128), (256, 128), (256, 256), (128, 256), (512, 256), (128, 512)]


def formula(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float, is_activated: bool
) -> torch.Tensor:
    n, c, h, w = x.shape
    x = x.double().reshape(n, groups, -1)
    mean = x.mean(-1, keepdim=True)
    normal = (x - mean) / torch.sqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps)
    y = normal.reshape(n, c, h, w) * weight.double()[:, None, None] + bias.double()[:, None, None]
    return y / (1 + torch.exp(-y)) if is_activated else y


@pytest.mark.parametrize("is_activated", [True, False])
@pytest.mark.parametrize(("shape", "groups"), [((2, 32, 5, 5), 8), ((1, 128, 16, 17), 32), ((3, 30, 1, 2), 5)])
def test_equals_the_formula(shape: tuple[int, int, int, int], groups: int, is_activated: bool) -> None:
    x, weight, bias = 3 * torch.randn(shape) + 1, torch.randn(shape[1]), torch.randn(shape[1])
    for layout in (torch.contiguous_format, torch.channels_last):
        got = groupnorm_silu(x.to(memory_format=layout), groups, weight, bias, 1e-6, is_activated)
        expected = formula(x, groups, weight, bias, 1e-6, is_activated)
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)  # float32 sums of a group


@pytest.mark.parametrize(("channels", "side"), [*DECODER, (32, 5), (30, 1)])
def test_an_image_is_divided_whole_and_into_no_empty_block(channels: int, side: int) -> None:
    groups = 32 if channels >= 128 else 2
    cut = division(channels, groups, side * side)
    span = cut.turns * cut.pixels
    assert (cut.blocks - 1) * span < side * side <= cut.blocks * span
    assert (cut.chunks - 1) * cut.groups < groups <= cut.chunks * cut.groups
    assert cut.blocks <= BLOCKS
    assert cut.blocks * cut.chunks <= PROGRAMS


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_vector_of_another_length_is_refused_with_both(name: str) -> None:
    vectors = {"weight": torch.zeros(8), "bias": torch.zeros(8), name: torch.zeros(4)}
    with pytest.raises(ValueError, match=rf"{name} must be \(C = 8\), got \(4,\)"):
        groupnorm_silu(torch.zeros(2, 8, 3, 3), 2, eps=1e-6, is_activated=True, **vectors)


@pytest.mark.parametrize("groups", [3, 0, -2, 16])
def test_groups_that_do_not_divide_the_channels_are_refused(groups: int) -> None:
    with pytest.raises(ValueError, match=f"groups must divide C = 8, got {groups}"):
        groupnorm_silu(torch.zeros(2, 8, 3, 3), groups, torch.zeros(8), torch.zeros(8), 1e-6, True)
