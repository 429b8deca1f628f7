"""groupnorm_silu's two launches against their definition in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dit_serve.kernels.groupnorm_silu import division, groupnorm_silu_reference, groupnorm_silu_triton
from tests.kernels.launched.spoil import spoiled

# The interpreter cuts bfloat16 short where a card rounds: a whole unit of its 8 bits, 2⁻⁷, in place of half.
TOLERANCES = [(torch.float32, 1e-5, 1e-5), (torch.float16, 2**-9, 1e-5), (torch.bfloat16, 2**-7, 1e-5)]
SHAPES = [
    ((2, 32, 5, 5), 8),  # C, G and pixels all odd
    ((3, 128, 16, 17), 32),  # Stable Diffusion's: two chunks of 16 groups, five blocks, the last not full
    ((1, 512, 9, 8), 32),
    ((2, 48, 7, 9), 16),  # groups of three channels: gaps in registers
    ((1, 30, 9, 65), 5),  # of six, in a chunk that has room for eight
    ((1, 1056, 3, 3), 1),  # wider than a chunk
    ((2, 8, 1, 1), 8),  # one number a group
    ((0, 32, 4, 4), 8),
]


def inputs(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return x in channels_last, weight and bias."""
    x = (3 * torch.randn(shape, device=device) + 1).to(dtype, memory_format=torch.channels_last)
    return x, *(torch.randn(2, shape[1], device=device).to(dtype).unbind(0))


def exact(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, is_activated: bool) -> torch.Tensor:
    return groupnorm_silu_reference(x.double(), groups, weight.double(), bias.double(), 1e-6, is_activated)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # the interpreter's numpy, of lanes without a pixel
@pytest.mark.parametrize("is_activated", [True, False])
@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
def test_equals_the_definition(
    shape: tuple[int, int, int, int], groups: int, dtype: torch.dtype, rtol: float, atol: float, is_activated: bool,
    device: torch.device,
) -> None:
    x, weight, bias = inputs(shape, dtype, device)
    got = groupnorm_silu_triton(x, groups, weight, bias, 1e-6, is_activated)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    expected = exact(x, groups, weight, bias, is_activated) if shape[0] else x.double()
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=atol)


@pytest.fixture
def two_blocks(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The sides of an image that is divided into two blocks of three turns, the last of which is not full."""
    monkeypatch.setattr("dit_serve.kernels.groupnorm_silu.BLOCKS", 2)
    cut = division(8, 4, 45 * 51)
    assert (cut.blocks, cut.turns) == (2, 3)
    assert (cut.turns + 1) * cut.pixels < 45 * 51 < (cut.turns + 2) * cut.pixels
    return 45, 51


def test_blocks_of_several_turns_are_merged(two_blocks: tuple[int, int], device: torch.device) -> None:
    x, weight, bias = inputs((2, 8, *two_blocks), torch.float32, device)
    x[:, :, 40:] *= 3  # blocks and turns differ in mean and variance
    x[:, :, 20:30] += 5
    got = groupnorm_silu_triton(x, 4, weight, bias, 1e-6, True)
    torch.testing.assert_close(got.double(), exact(x, 4, weight, bias, True), rtol=1e-5, atol=1e-5)  # float32


def test_a_large_mean_costs_no_precision(two_blocks: tuple[int, int], device: torch.device) -> None:
    for sides in two_blocks, (16, 17):
        x = inputs((1, 8, *sides), torch.float32, device)[0] + 10_000
        weight, bias = torch.ones(8, device=device), torch.zeros(8, device=device)
        got = groupnorm_silu_triton(x, 4, weight, bias, 1e-6, False)
        # float32 has steps of 10⁻³ at 10⁴, and a mean is good to a few; E[x²] - E[x]² would keep nothing of 9
        torch.testing.assert_close(got.double(), exact(x, 4, weight, bias, False), rtol=0, atol=4e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("shape", "groups"), [((3, 128, 16, 17), 32), ((4, 32, 5, 5), 8)])
def test_an_image_alone_and_among_others_is_bitwise_equal(
    shape: tuple[int, int, int, int], groups: int, dtype: torch.dtype, device: torch.device
) -> None:
    x, weight, bias = inputs(shape, dtype, device)
    together = groupnorm_silu_triton(x, groups, weight, bias, 1e-6, True)
    for image in range(shape[0]):
        alone = groupnorm_silu_triton(x[image:image + 1], groups, weight, bias, 1e-6, True)
        assert torch.equal(alone, together[image:image + 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_image_and_group(device: torch.device) -> None:
    x, weight, bias = inputs((3, 128, 16, 17), torch.float32, device)
    clean = groupnorm_silu_triton(x, 32, weight, bias, 1e-6, True)
    x[0, 5, 15, 16], x[2, 127, 0, 0] = float("nan"), float("inf")
    got = groupnorm_silu_triton(x, 32, weight, bias, 1e-6, True)
    assert torch.equal(got[1], clean[1])
    assert got[0, 4:8].isnan().all()
    assert torch.equal(got[0, :4], clean[0, :4])
    assert torch.equal(got[0, 8:], clean[0, 8:])
    assert got[2, 124:].isnan().all()
    assert torch.equal(got[2, :124], clean[2, :124])


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (2, 8, 3), r"x must be \(N, C, H, W\), got \(2, 8, 3\)"),
        ("weight", (9,), r"weight must be \(C = 8\), got \(9,\)"),
        ("groups", 3, "groups must divide C = 8, got 3"),
        ("bias", torch.bfloat16, "bias must have x's dtype torch.float32, got torch.bfloat16"),
        ("x", torch.float64, "x must be one of torch.float32, torch.bfloat16, torch.float16, got torch.float64"),
        ("x", (2, 8, 3, 4), r"x must be in channels_last, got strides \(96, 12, 4, 1\) of \(2, 8, 3, 4\)"),
        ("weight", "strides", r"weight must have stride 1 in its last side, got strides \(2,\)"),
        ("bias", "meta", "bias must be on x's device .*, got meta"),
    ],
)
def test_what_the_kernels_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    x, weight, bias = inputs((2, 8, 3, 4), torch.float32, device)
    arguments: dict[str, Any] = {
        "x": x, "groups": 2, "weight": weight, "bias": bias, "eps": 1e-6, "is_activated": True
    }
    with pytest.raises(ValueError, match=words):
        groupnorm_silu_triton(**spoiled(arguments, name, what))


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    x, weight, bias = inputs((2, 32, 5, 5), torch.float32, device)
    arguments = (x, 8, weight, bias, 1e-6, True)
    torch.library.opcheck(groupnorm_silu_triton, arguments, test_utils=("test_schema", "test_faketensor"))
