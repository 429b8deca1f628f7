"""gate_residual_layernorm_modulate's kernel against its definition in float64, and against layernorm_modulate's."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate_float8_triton,
    gate_residual_layernorm_modulate_reference,
    gate_residual_layernorm_modulate_triton,
)
from dit_serve.kernels.layernorm_modulate import (
    layernorm_modulate_float8_triton,
    layernorm_modulate_reference,
    layernorm_modulate_triton,
)
from tests.kernels.launched.spoil import spoiled
from tests.kernels.quantised import assert_quantised

# The interpreter cuts bfloat16 short where a card rounds: a whole unit of its 8 bits, 2⁻⁷, in place of half. The norm
# then sees x' with that error, of numbers up to about 8, and divides it by a deviation of about 2: atol.
TOLERANCES = [(torch.float32, 1e-5, 1e-5), (torch.float16, 2**-9, 0.01), (torch.bfloat16, 2**-7, 0.08)]


def inputs(rows: int, tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    """Return x and h (N, T, D), and gate, shift and scale as views of all modulations."""
    modulations = torch.randn(rows, 8, width, device=device).to(dtype)
    x, h = ((2 * torch.randn(rows, tokens, width, device=device) + 1).to(dtype) for _ in range(2))
    return {"x": x, "gate": modulations[:, 2], "h": h, "shift": modulations[:, 3], "scale": modulations[:, 4]}


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("shape", [(5, 1, 1152), (2, 3, 384), (1, 2, 1024), (4, 3, 12), (1, 2, 1400), (0, 4, 8)])
def test_equals_the_definition(
    shape: tuple[int, int, int], dtype: torch.dtype, rtol: float, atol: float, device: torch.device
) -> None:
    arguments = inputs(*shape, dtype, device)
    wide = (value.double() for value in arguments.values())
    expected_x, expected_y = gate_residual_layernorm_modulate_reference(*wide, eps=1e-5)
    x, y = gate_residual_layernorm_modulate_triton(**arguments, eps=1e-5)
    assert (x.dtype, y.dtype) == (dtype, dtype)
    torch.testing.assert_close(x.double(), expected_x, rtol=rtol, atol=1e-5)
    torch.testing.assert_close(y.double(), expected_y, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_what_it_stored_to_the_bit_as_layernorm_modulate_does(dtype: torch.dtype, device: torch.device) -> None:
    a = inputs(2, 9, 1152, dtype, device)
    x, y = gate_residual_layernorm_modulate_triton(**a, eps=1e-6)
    assert torch.equal(y, layernorm_modulate_triton(x, a["shift"], a["scale"], 1e-6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_alone_and_among_others_is_bitwise_equal(dtype: torch.dtype, device: torch.device) -> None:
    arguments = inputs(4, 2, 1152, dtype, device)
    together = gate_residual_layernorm_modulate_triton(**arguments, eps=1e-6)
    for row in range(4):
        alone = {name: value[row:row + 1] for name, value in arguments.items()}
        for got, expected in zip(gate_residual_layernorm_modulate_triton(**alone, eps=1e-6), together, strict=True):
            assert torch.equal(got, expected[row:row + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_say_which_vectors_of_a_pool_are_whose(dtype: torch.dtype, device: torch.device) -> None:
    of_rows, pool = inputs(5, 3, 1152, dtype, device), inputs(7, 3, 1152, dtype, device)
    rows = torch.tensor([6, 0, 3, 3, 2], device=device)
    vectors = {name: pool[name] for name in ("gate", "shift", "scale")}
    found = gate_residual_layernorm_modulate_triton(**of_rows | vectors, eps=1e-6, rows=rows)
    chosen = {name: vector[rows] for name, vector in vectors.items()}
    for got, expected in zip(found, gate_residual_layernorm_modulate_triton(**of_rows | chosen, eps=1e-6), strict=True):
        assert torch.equal(got, expected)
    order = torch.tensor([4, 2, 0], device=device)
    some = {"x": of_rows["x"][order], "h": of_rows["h"][order], **vectors}
    others = gate_residual_layernorm_modulate_triton(**some, eps=1e-6, rows=rows[order])
    for got, expected in zip(others, found, strict=True):
        assert torch.equal(got, expected[order])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row(device: torch.device) -> None:
    arguments = inputs(3, 2, 1152, torch.float32, device)
    clean = gate_residual_layernorm_modulate_triton(**arguments, eps=1e-6)
    arguments["h"][0, 0, 1151], arguments["gate"][2] = float("nan"), float("inf")
    x, y = gate_residual_layernorm_modulate_triton(**arguments, eps=1e-6)
    assert torch.equal(x[1], clean[0][1])
    assert torch.equal(y[1], clean[1][1])
    assert torch.equal(y[0, 1], clean[1][0, 1])
    assert y[0, 0].isnan().all()
    assert y[2].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 1, 1152), (2, 3, 384), (1, 2, 1024), (1, 2, 1400), (0, 4, 8)])
def test_the_float8_op_quantises_the_norm_of_the_same_sum(
    shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    a = inputs(*shape, dtype, device)
    x, values, scales = gate_residual_layernorm_modulate_float8_triton(**a, eps=1e-5)
    assert torch.equal(x, gate_residual_layernorm_modulate_triton(**a, eps=1e-5)[0])
    exact = layernorm_modulate_reference(x.double(), a["shift"].double(), a["scale"].double(), 1e-5)
    assert_quantised(values, scales, exact, 1e-5)


def test_the_float8_op_has_layernorm_modulate_float8_s_bits_in_any_place(device: torch.device) -> None:
    a, pool = inputs(4, 3, 1152, torch.float32, device), inputs(5, 3, 1152, torch.float32, device)
    a |= {name: pool[name] for name in ("gate", "shift", "scale")}
    rows = torch.tensor([4, 0, 0, 2], device=device)
    x, values, scales = gate_residual_layernorm_modulate_float8_triton(**a, eps=1e-6, rows=rows)
    assert torch.equal(x, gate_residual_layernorm_modulate_triton(**a, eps=1e-6, rows=rows)[0])
    for row, of in enumerate((4, 0, 0, 2)):
        vectors = a["shift"][of:of + 1], a["scale"][of:of + 1]
        alone = layernorm_modulate_float8_triton(x[row:row + 1], *vectors, 1e-6)
        assert torch.equal(alone[0].view(torch.uint8), values[row:row + 1].view(torch.uint8))
        assert torch.equal(alone[1], scales[row:row + 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row_of_the_float8_op(device: torch.device) -> None:
    arguments = inputs(3, 2, 1152, torch.float32, device)
    clean = gate_residual_layernorm_modulate_float8_triton(**arguments, eps=1e-6)
    arguments["h"][0, 0, 1151], arguments["gate"][2] = float("nan"), float("inf")
    x, values, scales = gate_residual_layernorm_modulate_float8_triton(**arguments, eps=1e-6)
    for row in ((0, 1), (1, 0), (1, 1)):
        assert torch.equal(x[row], clean[0][row])
        assert torch.equal(values[row].view(torch.uint8), clean[1][row].view(torch.uint8))
        assert scales[row] == clean[2][row]
    assert values[0, 0].float().isnan().all()
    assert values[2].float().isnan().all()


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("h", (2, 3, 4), r"h must be \(N = 2, T = 3, D = 8\), got \(2, 3, 4\)"),
        ("gate", (1, 8), r"gate must be \(N = 2, D = 8\), got \(1, 8\)"),
        ("shift", (3, 8), r"shift must be \(N = 2, D = 8\), got \(3, 8\)"),
        ("scale", torch.float16, "scale must have x's dtype torch.float32, got torch.float16"),
        ("x", "strides", r"x must be contiguous, got strides \(48, 16, 2\)"),
        ("shift", "strides", r"shift must have stride 1 in its last side, got strides \(16, 2\)"),
        ("scale", "meta", "scale must be on x's device .*, got meta"),
        ("rows", (3,), r"rows must be \(N = 2\), got \(3,\)"),
        ("rows", torch.int32, "rows must be torch.int64, got torch.int32"),
        ("rows", "strides", r"rows must be contiguous, got strides \(2,\)"),
        ("rows", "meta", "rows must be on x's device .*, got meta"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    arguments = inputs(2, 3, 8, torch.float32, device)
    if name == "rows":
        arguments["rows"] = torch.tensor([1, 0], device=device)
    arguments = spoiled(arguments, name, what)
    for op in (gate_residual_layernorm_modulate_triton, gate_residual_layernorm_modulate_float8_triton):
        with pytest.raises(ValueError, match=words):
            op(**arguments, eps=1e-6)


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    arguments = (*inputs(2, 3, 48, torch.float32, device).values(), 1e-6)
    rows = torch.tensor([1, 1], device=device)
    for op in (gate_residual_layernorm_modulate_triton, gate_residual_layernorm_modulate_float8_triton):
        for all_arguments in (arguments, (*arguments, rows)):
            torch.library.opcheck(op, all_arguments, test_utils=("test_schema", "test_faketensor"))
