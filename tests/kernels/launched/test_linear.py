"""linear's kernel against its definition in float64, and its promise: a row does not feel how many others there are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dit_serve.kernels.launch import is_interpreted
from dit_serve.kernels.linear import EPILOGUES, linear_reference, linear_triton
from tests.kernels.launched.spoil import spoiled

# The interpreter cuts bfloat16 short where a card rounds: a whole unit of its 8 bits, 2⁻⁷, in place of half.
TOLERANCES = [(torch.float32, 1e-5, 1e-5), (torch.float16, 2**-9, 1e-4), (torch.bfloat16, 2**-7, 1e-4)]
SHAPES = [  # N, T, K, O
    (2, 65, 144, 32),  # past a whole tile, K no multiple of a turn
    (1, 128, 64, 128),  # nothing but whole tiles
    (5, 1, 1152, 96),
    (3, 6, 16, 200),  # past a whole tile of columns
    (1, 3, 7, 1),
    (0, 4, 8, 8),
]


def make_arguments(
    shape: tuple[int, int, int, int], epilogue: str, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    rows, tokens, size, out = shape
    return {
        "x": torch.randn(rows, tokens, size, device=device).to(dtype),
        "weight": (torch.randn(out, size, device=device) / math.sqrt(size)).to(dtype),
        "bias": torch.randn(out, device=device).to(dtype),
        "epilogue": epilogue,
    }


def in_eighths(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors rounded to eighths within ±2: a few hundred of their products sum exactly, in any order."""
    return {
        name: (8 * value.clamp(-2, 2)).round() / 8 if torch.is_tensor(value) else value
        for name, value in arguments.items()
    }


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_definition(
    shape: tuple[int, int, int, int],
    epilogue: str,
    dtype: torch.dtype,
    rtol: float,
    atol: float,
    device: torch.device,
) -> None:
    arguments = make_arguments(shape, epilogue, dtype, device)
    wide = {name: value.double() if torch.is_tensor(value) else value for name, value in arguments.items()}
    got = linear_triton(**arguments)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), linear_reference(**wide), rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_a_row_alone_and_among_others_is_bitwise_equal(epilogue: str, dtype: torch.dtype, device: torch.device) -> None:
    arguments = make_arguments((9, 17, 144, 40), epilogue, dtype, device)
    if is_interpreted():  # its products are numpy's, whose BLAS may sum the rows at a tile's edge in another order
        arguments = in_eighths(arguments)
    together = linear_triton(**arguments)
    for rows in (slice(0, 1), slice(4, 5), slice(8, 9), slice(3, 7)):
        assert torch.equal(linear_triton(**arguments | {"x": arguments["x"][rows]}), together[rows])


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_residual_is_added_to_every_sequence(
    shape: tuple[int, int, int, int], dtype: torch.dtype, rtol: float, atol: float, device: torch.device
) -> None:
    arguments = make_arguments(shape, "none", dtype, device)
    arguments["residual"] = torch.randn(shape[1], shape[3], device=device).to(dtype)
    x, weight, bias, residual = (arguments[name].double() for name in ("x", "weight", "bias", "residual"))
    terms = x @ weight.T + bias, residual
    got = linear_triton(**arguments)
    assert got.dtype == dtype
    # the sum is rounded once, but the kernel's float32 errs by its terms
    allowed = atol + rtol * sum(terms).abs() + 1e-5 * sum(term.abs() for term in terms)
    assert ((got.double() - sum(terms)).abs() <= allowed).all()
    alone = linear_triton(**in_eighths(arguments | {"x": arguments["x"][1:]}))
    assert torch.equal(alone, linear_triton(**in_eighths(arguments))[1:])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_what_is_not_finite_stays_in_its_row(epilogue: str, device: torch.device) -> None:
    arguments = make_arguments((3, 2, 144, 40), epilogue, torch.float32, device)
    clean = linear_triton(**arguments)
    arguments["x"][0, 1, 143], arguments["x"][2, 0, 0] = math.nan, math.inf
    got = linear_triton(**arguments)
    assert torch.equal(got[1], clean[1])
    assert torch.equal(got[0, 0], clean[0, 0])
    assert got[0, 1].isnan().all()
    assert torch.equal(got[2, 1], clean[2, 1])


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (6, 8), r"x must be \(N, T, K\), got \(6, 8\)"),
        ("weight", (4, 9), r"weight must be \(O = 4, K = 8\), got \(4, 9\)"),
        ("bias", (5,), r"bias must be \(O = 4\), got \(5,\)"),
        ("epilogue", "relu", "epilogue must be one of none, gelu_tanh, got 'relu'"),
        ("weight", torch.bfloat16, "weight must have x's dtype torch.float32, got torch.bfloat16"),
        ("weight", "strides", r"weight must be contiguous, got strides \(16, 2\)"),
        ("bias", "meta", "bias must be on x's device .*, got meta"),
        ("tile", "8x8", "tile must be one of 64x64 for torch.float32, got '8x8'"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    arguments = make_arguments((2, 3, 8, 4), "gelu_tanh", torch.float32, device) | {"tile": None}
    with pytest.raises(ValueError, match=words):
        linear_triton(**spoiled(arguments, name, what))


@pytest.mark.parametrize(
    ("epilogue", "shape", "words"),
    [
        ("none", (3, 5), r"residual must be \(T = 3, O = 4\), got \(3, 5\)"),
        ("none", (1, 4), r"residual must be \(T = 3, O = 4\), got \(1, 4\)"),
        ("gelu_tanh", (3, 4), "a residual goes with the epilogue none, got 'gelu_tanh'"),
    ],
)
def test_a_residual_that_does_not_fit_is_refused(
    epilogue: str, shape: tuple[int, int], words: str, device: torch.device
) -> None:
    arguments = make_arguments((2, 3, 8, 4), epilogue, torch.float32, device)
    with pytest.raises(ValueError, match=words):
        linear_triton(**arguments, residual=torch.zeros(shape, device=device))


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_is_a_custom_op_whose_fake_agrees(epilogue: str, device: torch.device) -> None:
    arguments = make_arguments((2, 3, 16, 24), epilogue, torch.float32, device)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(linear_triton, tuple(arguments.values()), test_utils=checks)
    named = {"residual": torch.zeros(3, 24, device=device) if epilogue == "none" else None, "tile": "64x64"}
    torch.library.opcheck(linear_triton, tuple(arguments.values()), named, test_utils=checks)
