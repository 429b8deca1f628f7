"""add_bias's kernel against its definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dit_serve.kernels.add_bias import BLOCK_BYTES, add_bias_launch, add_bias_reference, add_bias_triton
from dit_serve.kernels.launch import is_interpreted
from tests.kernels.launched.spoil import spoiled

# The kernel's sums are the definition's; but the interpreter cuts bfloat16 short where a card rounds: a whole unit.
TOLERANCES = [(torch.float32, 0.0), (torch.float16, 0.0), (torch.bfloat16, 2**-7 if is_interpreted() else 0.0)]
SHAPES = [
    (2, 8, 5, 3),
    (3, 24, 7, 9),  # two programs an image in float32, the last not full; no pixel begins with a program
    (1, 128, 4, 8),  # whole programs: nothing is masked
    (2, 128, 3, 11),
    (2, 9, 3, 5),  # no vector of channels is aligned
    (2, 8, 1, 1),
    (0, 8, 4, 4),
]
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> Inputs:
    """Return h, bias and residual, the images in channels_last and amid NaNs: what is read beyond them would show."""
    def image() -> torch.Tensor:
        n, c, h, w = shape
        memory = torch.full((n + 2, h, w, c), float("nan"), dtype=dtype, device=device)
        memory[1:-1].normal_()
        return memory[1:-1].permute(0, 3, 1, 2)

    return image(), torch.randn(shape[1], device=device).to(dtype), image()


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("has_residual", [True, False])
@pytest.mark.parametrize(("dtype", "rtol"), TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_definition(
    shape: tuple[int, int, int, int], dtype: torch.dtype, rtol: float, has_residual: bool, upsampling: int,
    device: torch.device,
) -> None:
    h, bias, residual = inputs(shape, dtype, device)
    got = add_bias_triton(h, bias, residual if has_residual else None, upsampling)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last)
    expected = (
        add_bias_reference(h, bias, residual if has_residual else None, upsampling) if shape[0]
        else torch.empty_like(got)  # torch upsamples no empty batch
    )
    torch.testing.assert_close(got, expected, rtol=rtol, atol=0)


def test_programs_are_whole_or_masked_as_the_shapes_say(device: torch.device) -> None:
    for shape, programs in ((SHAPES[1], 3 * 2), (SHAPES[2], 4)):
        launch = add_bias_launch(*inputs(shape, torch.float32, device)[:2])
        assert launch.programs == programs
        assert launch.arguments["BLOCK"] == BLOCK_BYTES // 4
    assert launch.arguments["SIZE"] % launch.arguments["BLOCK"] == 0


def test_a_bias_in_float32_is_not_rounded_before_the_sum(device: torch.device) -> None:
    h = torch.ones(1, 8, 2, 2, dtype=torch.float16, device=device).to(memory_format=torch.channels_last)
    bias = torch.full((8,), 2**-11 + 2**-22, device=device)  # 2⁻¹¹ alone is a tie, and goes to even
    assert torch.equal(add_bias_triton(h, bias), torch.full_like(h, 1 + 2**-10))
    assert torch.equal(add_bias_triton(h, bias.half()), h)


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("shape", [(5, 24, 7, 9), (4, 9, 3, 5)])
def test_an_image_alone_and_among_others_is_bitwise_equal(
    shape: tuple[int, int, int, int], upsampling: int, device: torch.device
) -> None:
    h, bias, residual = inputs(shape, torch.bfloat16, device)
    together = add_bias_triton(h, bias, residual, upsampling)
    for i in range(shape[0]):
        alone = add_bias_triton(h[i:i + 1].clone(), bias, residual[i:i + 1].clone(), upsampling)
        assert torch.equal(alone, together[i:i + 1])


@pytest.mark.parametrize("upsampling", [1, 2])
def test_what_is_not_finite_stays_in_its_places(upsampling: int, device: torch.device) -> None:
    h, bias, residual = inputs((3, 24, 7, 9), torch.float32, device)
    h[1, 5, 6, 8], residual[0, 23, 0, 0] = float("nan"), float("inf")
    got = add_bias_triton(h, bias, residual, upsampling)
    is_lost = (~(h + residual).isfinite()).double()
    expected = torch.nn.functional.interpolate(is_lost, scale_factor=float(upsampling), mode="nearest")
    assert is_lost.sum() == 2
    assert torch.equal(~got.isfinite(), expected.bool())


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("h", (2, 8, 3), r"h must be \(N, C, H, W\), got \(2, 8, 3\)"),
        ("bias", (9,), r"bias must be \(C = 8\), got \(9,\)"),
        ("residual", (2, 8, 3, 5), r"residual must be \(N = 2, C = 8, H = 3, W = 4\), got \(2, 8, 3, 5\)"),
        ("upsampling", 4, "upsampling must be 1 or 2, got 4"),
        ("residual", torch.bfloat16, "residual must have h's dtype torch.float32, got torch.bfloat16"),
        ("bias", torch.float16, "bias must have h's dtype torch.float32 or torch.float32, got torch.float16"),
        ("h", torch.float64, "h must be one of torch.float32, torch.bfloat16, torch.float16, got torch.float64"),
        ("h", (2, 8, 3, 4), r"h must be in channels_last, got strides \(96, 12, 4, 1\) of \(2, 8, 3, 4\)"),
        ("residual", (2, 8, 3, 4), r"residual must be in channels_last, got strides \(96, 12, 4, 1\)"),
        ("bias", "strides", r"bias must have stride 1 in its last side, got strides \(2,\)"),
        ("bias", "meta", "bias must be on h's device .*, got meta"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    h, bias, residual = inputs((2, 8, 3, 4), torch.float32, device)
    arguments: dict[str, Any] = {"h": h, "bias": bias, "residual": residual, "upsampling": 1}
    with pytest.raises(ValueError, match=words):
        add_bias_triton(**spoiled(arguments, name, what))


@pytest.mark.parametrize("upsampling", [1, 2])
@pytest.mark.parametrize("has_residual", [True, False])
def test_is_a_custom_op_whose_fake_agrees(has_residual: bool, upsampling: int, device: torch.device) -> None:
    h, bias, residual = inputs((2, 32, 5, 5), torch.float32, device)
    arguments = (h, bias, residual if has_residual else None, upsampling)
    torch.library.opcheck(add_bias_triton, arguments, test_utils=("test_schema", "test_faketensor"))
