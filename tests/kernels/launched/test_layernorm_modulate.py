"""layernorm_modulate's kernel against its definition in float64."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.layernorm_modulate import (
    layernorm_modulate_float8_triton,
    layernorm_modulate_reference,
    layernorm_modulate_triton,
)
from tests.kernels.launched.spoil import spoiled
from tests.kernels.quantised import assert_quantised

# The interpreter cuts bfloat16 short where a card rounds: a whole unit of its 8 bits, 2⁻⁷, in place of half.
TOLERANCES = [(torch.float32, 1e-5, 1e-5), (torch.float16, 2**-9, 1e-5), (torch.bfloat16, 2**-7, 1e-5)]


def inputs(rows: int, tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Return x (N, T, D), and shift and scale as views of all modulations."""
    modulations = torch.randn(rows, 8, width, device=device).to(dtype)
    return (3 * torch.randn(rows, tokens, width, device=device) + 1).to(dtype), modulations[:, 1], modulations[:, 4]


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize(
    "shape", [(5, 1, 1152), (2, 3, 384), (1, 2, 1024), (4, 3, 48), (2, 2, 1), (1, 2, 1400), (0, 4, 8)]
)
def test_equals_the_definition(
    shape: tuple[int, int, int], dtype: torch.dtype, rtol: float, atol: float, device: torch.device
) -> None:
    x, shift, scale = inputs(*shape, dtype, device)
    got = layernorm_modulate_triton(x, shift, scale, 1e-5)
    expected = layernorm_modulate_reference(x.double(), shift.double(), scale.double(), 1e-5)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=atol)


def test_every_token_of_a_row_has_its_rows_shift_and_scale(device: torch.device) -> None:
    x, shift, scale = inputs(1, 257, 24, torch.float32, device)
    expected = layernorm_modulate_reference(x.double(), shift.double(), scale.double(), 1e-6)
    torch.testing.assert_close(
        layernorm_modulate_triton(x, shift, scale, 1e-6).double(), expected, rtol=1e-5, atol=1e-5  # float32
    )


def test_a_large_mean_costs_no_precision(device: torch.device) -> None:
    x, shift, scale = inputs(1, 4, 1152, torch.float32, device)
    got = layernorm_modulate_triton(x + 1000, shift, scale, 1e-6)
    expected = layernorm_modulate_reference((x + 1000).double(), shift.double(), scale.double(), 1e-6)
    # float32's mean of such a row is good to 10⁻³; E[x²] - E[x]² would keep nothing of a variance of 9
    torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_alone_and_among_others_is_bitwise_equal(dtype: torch.dtype, device: torch.device) -> None:
    x, shift, scale = inputs(5, 3, 1152, dtype, device)
    together = layernorm_modulate_triton(x, shift, scale, 1e-6)
    for row in range(5):
        alone = layernorm_modulate_triton(x[row:row + 1], shift[row:row + 1], scale[row:row + 1], 1e-6)
        assert torch.equal(alone, together[row:row + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_say_which_shift_and_scale_of_a_pool_are_whose(dtype: torch.dtype, device: torch.device) -> None:
    x = inputs(5, 3, 1152, dtype, device)[0]
    _, shift, scale = inputs(7, 3, 1152, dtype, device)
    rows = torch.tensor([6, 0, 3, 3, 2], device=device)
    got = layernorm_modulate_triton(x, shift, scale, 1e-6, rows)
    assert torch.equal(got, layernorm_modulate_triton(x, shift[rows], scale[rows], 1e-6))
    order = torch.tensor([4, 2, 0], device=device)
    assert torch.equal(layernorm_modulate_triton(x[order], shift, scale, 1e-6, rows[order]), got[order])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row(device: torch.device) -> None:
    x, shift, scale = inputs(3, 2, 1152, torch.float32, device)
    clean = layernorm_modulate_triton(x, shift, scale, 1e-6)
    x[0, 1, 1151], shift[2, 7] = float("nan"), float("inf")
    got = layernorm_modulate_triton(x, shift, scale, 1e-6)
    assert torch.equal(got[1], clean[1])
    assert torch.equal(got[0, 0], clean[0, 0])
    assert got[0, 1].isnan().all()
    assert got[2, :, 7].isinf().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 1, 1152), (1, 257, 24), (1, 2, 1024), (1, 2, 1400), (2, 2, 1), (0, 4, 8)])
def test_the_float8_op_quantises_the_definition_s_row(
    shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    x, shift, scale = inputs(*shape, dtype, device)
    exact = layernorm_modulate_reference(x.double(), shift.double(), scale.double(), 1e-5)
    assert_quantised(*layernorm_modulate_float8_triton(x, shift, scale, 1e-5), exact, 1e-5)


def test_a_row_of_the_float8_op_feels_neither_its_place_nor_the_others(device: torch.device) -> None:
    x = inputs(4, 3, 1152, torch.bfloat16, device)[0]
    _, shift, scale = inputs(5, 3, 1152, torch.bfloat16, device)
    rows = torch.tensor([4, 0, 0, 2], device=device)
    values, scales = layernorm_modulate_float8_triton(x, shift, scale, 1e-6, rows)
    for row, of in enumerate((4, 0, 0, 2)):
        alone = layernorm_modulate_float8_triton(x[row:row + 1], shift[of:of + 1], scale[of:of + 1], 1e-6)
        assert torch.equal(alone[0].view(torch.uint8), values[row:row + 1].view(torch.uint8))
        assert torch.equal(alone[1], scales[row:row + 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row_of_the_float8_op(device: torch.device) -> None:
    x, shift, scale = inputs(3, 2, 1152, torch.float32, device)
    clean = layernorm_modulate_float8_triton(x, shift, scale, 1e-6)
    x[0, 1, 1151], shift[2, 7] = float("nan"), float("inf")
    values, scales = layernorm_modulate_float8_triton(x, shift, scale, 1e-6)
    for row in ((0, 0), (1, 0), (1, 1)):
        assert torch.equal(values[row].view(torch.uint8), clean[0][row].view(torch.uint8))
        assert scales[row] == clean[1][row]
    assert values[0, 1].float().isnan().all()
    assert values[2, :, 7].float().isnan().all()


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (2, 3), r"x must be \(N, T, D\), got \(2, 3\)"),
        ("shift", (2, 9), r"shift must be \(N = 2, D = 8\), got \(2, 9\)"),
        ("scale", torch.bfloat16, "scale must have x's dtype torch.float32, got torch.bfloat16"),
        ("x", torch.float64, "x must be one of torch.float32, torch.bfloat16, torch.float16, got torch.float64"),
        ("x", "strides", r"x must be contiguous, got strides \(48, 16, 2\) of \(2, 3, 8\)"),
        ("scale", "strides", r"scale must have stride 1 in its last side, got strides \(16, 2\)"),
        ("shift", "meta", "shift must be on x's device .*, got meta"),
        ("rows", (3,), r"rows must be \(N = 2\), got \(3,\)"),
        ("rows", torch.int32, "rows must be torch.int64, got torch.int32"),
        ("rows", "strides", r"rows must be contiguous, got strides \(2,\)"),
        ("rows", "meta", "rows must be on x's device .*, got meta"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    x, shift, scale = inputs(2, 3, 8, torch.float32, device)
    arguments = {"x": x, "shift": shift, "scale": scale, "eps": 1e-6}
    if name == "rows":
        arguments["rows"] = torch.tensor([1, 0], device=device)
    for op in (layernorm_modulate_triton, layernorm_modulate_float8_triton):
        with pytest.raises(ValueError, match=words):
            op(**spoiled(arguments, name, what))


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    arguments = (*inputs(2, 3, 48, torch.float32, device), 1e-6)
    rows = torch.tensor([1, 1], device=device)
    for op in (layernorm_modulate_triton, layernorm_modulate_float8_triton):
        for all_arguments in (arguments, (*arguments, rows)):
            torch.library.opcheck(op, all_arguments, test_utils=("test_schema", "test_faketensor"))
    compiled = torch.compile(layernorm_modulate_triton, backend="eager", fullgraph=True)
    assert torch.equal(compiled(*arguments), layernorm_modulate_triton(*arguments))
