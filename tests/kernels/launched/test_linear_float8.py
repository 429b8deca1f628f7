"""The product of float8 operands against float64, in every tile, with the same bits in all."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dit_serve.kernels.launch import FLOAT8_CAPABILITY, is_interpreted, reaches
from dit_serve.kernels.linear_float8 import linear_float8_triton
from dit_serve.kernels.linear_ways import FLOAT8_BLAS, FLOAT8_WHOLE, Way
from tests.kernels.launched.spoil import spoiled

pytestmark = pytest.mark.skipif(
    not is_interpreted() and torch.cuda.is_available() and not reaches(torch.device("cuda"), FLOAT8_CAPABILITY),
    reason="float8 products came with compute capability 8.9",
)
SHAPES = [(2, 65, 256, 136), (3, 1, 1152, 200), (1, 257, 128, 24)]  # N, T, K, O
# The tensor cores keep sums of a turn to some 14 bits; the interpreter cuts bfloat16 where a card rounds.
OF_TERMS = 2**-12


def make_arguments(
    shape: tuple[int, int, int, int], device: torch.device, dtype: torch.dtype = torch.bfloat16
) -> dict[str, Any]:
    sequences, tokens, size, out = shape
    return {
        "x": torch.randn(sequences, tokens, size, device=device).mul(100).clamp(-448, 448).to(torch.float8_e4m3fn),
        "x_scales": torch.rand(sequences, tokens, device=device) / 100 + 1e-3,
        "weight": torch.randn(out, size, device=device).mul(100).clamp(-448, 448).to(torch.float8_e4m3fn),
        "weight_scales": (torch.rand(out, device=device) / 100 + 1e-3) / math.sqrt(size),
        "bias": torch.randn(out, device=device).to(dtype),
    }


def in_eighths(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return small numbers whose products sum exactly in any order, with powers of two for scales."""
    def eighths(value: torch.Tensor) -> torch.Tensor:
        return (value.float() / 12.5).round().clamp(-15, 15) / 8

    return {
        "x": eighths(arguments["x"]).to(torch.float8_e4m3fn),
        "x_scales": torch.exp2(torch.log2(arguments["x_scales"]).round()),
        "weight": eighths(arguments["weight"]).to(torch.float8_e4m3fn),
        "weight_scales": torch.exp2(torch.log2(arguments["weight_scales"]).round()),
        "bias": (arguments["bias"].float() * 8).round().to(arguments["bias"].dtype) / 8,
    }


def exact(arguments: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the result and the sum of its terms' sizes in float64."""
    x, x_scales, weight, weight_scales, bias = (value.double() for value in arguments.values())
    x, weight = x * x_scales[..., None], weight * weight_scales[:, None]
    return x @ weight.T + bias, x.abs() @ weight.abs().T + bias.abs()


def is_taken(way: Way, arguments: dict[str, Any]) -> bool:
    if is_interpreted():
        return way not in FLOAT8_BLAS
    return way.takes(arguments["x"], arguments["weight"], "none")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 40, 7), (0, 4, 128, 8)])
def test_equals_the_definition(shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
    arguments = make_arguments(shape, device, dtype)
    got, (wanted, terms) = linear_float8_triton(**arguments), exact(arguments)
    assert got.dtype == dtype
    assert ((got.double() - wanted).abs() <= OF_TERMS * terms + 2 * torch.finfo(dtype).eps * wanted.abs()).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", FLOAT8_WHOLE + FLOAT8_BLAS, ids=lambda way: way.name)
def test_every_way_equals_the_definition(
    way: Way, shape: tuple[int, int, int, int], device: torch.device
) -> None:
    arguments = make_arguments(shape, device)
    if not is_taken(way, arguments):
        pytest.skip("not taken here")
    got, (wanted, terms) = way.product(*arguments.values()), exact(arguments)
    assert ((got.double() - wanted).abs() <= OF_TERMS * terms + 2**-7 * wanted.abs()).all()


def test_every_way_gives_the_same_bits_whatever_the_rows(device: torch.device) -> None:
    arguments = make_arguments((3, 47, 256, 136), device)
    if is_interpreted():  # whose BLAS may sum a tile's edge in another order
        arguments = in_eighths(arguments)
    together = FLOAT8_WHOLE[0].product(*arguments.values())
    ways = [way for way in FLOAT8_WHOLE if is_taken(way, arguments)]
    assert len(ways) >= 3
    for way in ways:
        for rows in (slice(0, 3), slice(2, 3)):
            alone = arguments | {name: arguments[name][rows] for name in ("x", "x_scales")}
            assert torch.equal(way.product(*alone.values()), together[rows]), way.name


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row(device: torch.device) -> None:
    arguments = make_arguments((3, 2, 128, 40), device)
    clean = linear_float8_triton(**arguments)
    arguments["x_scales"][0, 1] = math.nan
    got = linear_float8_triton(**arguments)
    assert got[0, 1].isnan().all()
    assert torch.equal(got[0, 0], clean[0, 0])
    assert torch.equal(got[1:], clean[1:])


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (6, 128), r"x must be \(N, T, K\), got \(6, 128\)"),
        ("x_scales", (2, 4), r"x_scales must be \(N = 2, T = 3\), got \(2, 4\)"),
        ("weight_scales", (1,), r"weight_scales must be \(O = 16\), got \(1,\)"),
        ("weight", torch.bfloat16, r"weight must be torch\.float8_e4m3fn, got torch\.bfloat16"),
        ("x_scales", torch.bfloat16, r"x_scales must be torch\.float32, got torch\.bfloat16"),
        ("bias", torch.float64, r"bias must be one of .*, got torch\.float64"),
        ("bias", "meta", "bias must be on x's device .*, got meta"),
        ("tile", "8x8", "tile must be one of 128x128, .*, got '8x8'"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    arguments = spoiled(make_arguments((2, 3, 128, 16), device) | {"tile": "128x128"}, name, what)
    with pytest.raises(ValueError, match=words):
        linear_float8_triton(**arguments)


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    arguments = tuple(make_arguments((2, 3, 128, 24), device).values())
    # the check of the schema compares by torch's operators that float8 has not
    torch.library.opcheck(linear_float8_triton, (*arguments, "64x128"), test_utils=("test_faketensor",))
