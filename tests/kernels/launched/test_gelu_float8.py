"""gelu_float8's kernel against its definition in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from dit_serve.kernels.gelu_float8 import gelu_float8_triton
from tests.kernels.launched.spoil import spoiled
from tests.kernels.quantised import assert_quantised


@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")  # far below zero; what comes is 0
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 3, 4608), (5, 1, 1536), (1, 257, 96), (1, 2, 4096), (2, 2, 1), (0, 4, 8)])
def test_equals_the_definition(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> None:
    h = (2 * torch.randn(shape, device=device)).to(dtype)
    assert_quantised(*gelu_float8_triton(h), F.gelu(h.double(), approximate="tanh"), 1e-5)


def test_a_row_of_zeros_is_zeros(device: torch.device) -> None:
    h = torch.randn(1, 3, 288, device=device)
    h[0, 1] = 0
    values, scales = gelu_float8_triton(h)
    assert not values[0, 1].float().any()
    assert bool(scales.isfinite().all() and (scales > 0).all())


@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")
def test_a_row_alone_and_among_others_is_bitwise_equal(device: torch.device) -> None:
    h = torch.randn(4, 3, 4608, device=device)
    values, scales = gelu_float8_triton(h)
    for row in range(4):
        alone = gelu_float8_triton(h[row:row + 1])
        assert torch.equal(alone[0].view(torch.uint8), values[row:row + 1].view(torch.uint8))
        assert torch.equal(alone[1], scales[row:row + 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row(device: torch.device) -> None:
    h = torch.randn(3, 2, 288, device=device)
    clean = gelu_float8_triton(h)
    h[0, 1, 287], h[2, 0, 0] = math.nan, math.inf
    values, scales = gelu_float8_triton(h)
    for row in ((0, 0), (1, 0), (1, 1), (2, 1)):
        assert torch.equal(values[row].view(torch.uint8), clean[0][row].view(torch.uint8))
        assert scales[row] == clean[1][row]
    assert values[0, 1, 287].float().isnan()
    assert values[2, 0, 0].float().isnan()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ((2, 3), r"h must be \(N, T, K\), got \(2, 3\)"),
        (torch.float64, "h must be one of torch.float32, torch.bfloat16, torch.float16, got torch.float64"),
        ("strides", r"h must be contiguous, got strides \(48, 16, 2\) of \(2, 3, 8\)"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    what: object, words: str, device: torch.device
) -> None:
    with pytest.raises(ValueError, match=words):
        gelu_float8_triton(**spoiled({"h": torch.zeros(2, 3, 8, device=device)}, "h", what))


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    h = torch.randn(2, 3, 48, device=device)
    torch.library.opcheck(gelu_float8_triton, (h,), test_utils=("test_schema", "test_faketensor"))
