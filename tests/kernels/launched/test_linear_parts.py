"""K in parts: right, the same bits together and apart, and a row alone as among others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dit_serve.kernels.launch import is_interpreted
from dit_serve.kernels.linear_parts import (
    PARTS_OF_K,
    linear_by_parts_reference,
    linear_by_parts_triton,
    linear_parts_reference,
    linear_parts_triton,
)
from tests.kernels.launched.spoil import spoiled
from tests.kernels.launched.test_linear import TOLERANCES, in_eighths, make_arguments

SHAPES = [(2, 65, 512, 136), (5, 1, 4608, 96), (1, 257, 256, 24), (0, 4, 256, 8)]  # N, T, K, O

# The interpreter cuts bfloat16 short where torch rounds.
ROUNDED_AS_TORCH = [torch.float32, torch.float16, *([] if is_interpreted() else [torch.bfloat16])]


def tensors(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    arguments = make_arguments(shape, "none", dtype, device)
    return {name: arguments[name] for name in ("x", "weight", "bias")}


def without_bias(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: arguments[name] for name in ("x", "weight")}


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_together_equals_the_definition(
    shape: tuple[int, int, int, int], dtype: torch.dtype, rtol: float, atol: float, device: torch.device
) -> None:
    arguments = tensors(shape, dtype, device)
    wide = {name: value.double() for name, value in arguments.items()}
    got = linear_by_parts_triton(**arguments)
    assert got.dtype == dtype
    plain = wide["x"] @ wide["weight"].T + wide["bias"]
    torch.testing.assert_close(linear_by_parts_reference(**wide), plain)
    torch.testing.assert_close(got.double(), plain, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_apart_each_part_equals_its_definition(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    arguments = without_bias(tensors(shape, dtype, device))
    exact = linear_parts_reference(**{name: value.double() for name, value in arguments.items()})
    got = linear_parts_triton(**arguments)
    assert got.dtype == torch.float32
    assert got.shape == (PARTS_OF_K, shape[0], shape[1], shape[3])
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-5)  # float32 sums, not rounded after


@pytest.mark.parametrize("dtype", ROUNDED_AS_TORCH)
@pytest.mark.parametrize("shape", [(3, 47, 512, 136), (2, 1, 4608, 72)])
def test_together_and_apart_give_the_same_bits_whatever_the_rows(
    shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    arguments = tensors(shape, dtype, device)
    if is_interpreted():  # whose BLAS may sum a tile's edge in another order
        arguments = in_eighths(arguments)
    together, parts = linear_by_parts_triton(**arguments), linear_parts_triton(**without_bias(arguments))
    y = parts[0]
    for part in parts[1:]:
        y = y + part
    assert torch.equal((y + arguments["bias"]).to(dtype), together)
    alone = arguments | {"x": arguments["x"][1:2]}
    assert torch.equal(linear_by_parts_triton(**alone), together[1:2])
    assert torch.equal(linear_parts_triton(**without_bias(alone)), parts[:, 1:2])


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (3, 256), r"x must be \(N, T, K\), got \(3, 256\)"),
        ("weight", (16, 64), r"weight must be \(O = 16, K = 256\), got \(16, 64\)"),
        ("bias", (5,), r"bias must be \(O = 16\), got \(5,\)"),
        ("bias", torch.float16, r"bias must have x's dtype torch\.bfloat16, got torch\.float16"),
        ("weight", "strides", r"weight must be contiguous, got strides \(512, 2\)"),
    ],
)
def test_what_the_kernels_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    arguments = spoiled(tensors((2, 3, 256, 16), torch.bfloat16, device), name, what)
    with pytest.raises(ValueError, match=words):
        linear_by_parts_triton(**arguments)
    if name != "bias":
        with pytest.raises(ValueError, match=words):
            linear_parts_triton(**without_bias(arguments))


def test_parts_that_are_no_whole_turns_are_refused(device: torch.device) -> None:
    arguments = tensors((2, 3, 192, 16), torch.bfloat16, device)
    with pytest.raises(ValueError, match="K must be a multiple of 256, got 192"):
        linear_by_parts_triton(**arguments)
    with pytest.raises(ValueError, match="K must be a multiple of 256, got 192"):
        linear_parts_triton(**without_bias(arguments))


def test_are_custom_ops_whose_fakes_agree(device: torch.device) -> None:
    arguments = tensors((2, 3, 256, 24), torch.bfloat16, device)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(linear_by_parts_triton, tuple(arguments.values()), test_utils=checks)
    torch.library.opcheck(linear_parts_triton, tuple(without_bias(arguments).values()), test_utils=checks)
