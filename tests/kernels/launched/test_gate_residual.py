"""gate_residual's kernel against its definition in float64."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.gate_residual import gate_residual_reference, gate_residual_triton
from tests.kernels.launched.spoil import spoiled

# The interpreter cuts bfloat16 short where a card rounds: a whole unit of its 8 bits, 2⁻⁷, in place of half.
TOLERANCES = [(torch.float32, 1e-5, 1e-5), (torch.float16, 2**-9, 1e-5), (torch.bfloat16, 2**-7, 1e-5)]


def inputs(rows: int, tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    """Return x and h (N, T, D), and gate as a view of all modulations."""
    modulations = torch.randn(rows, 8, width, device=device).to(dtype)
    x, h = (torch.randn(rows, tokens, width, device=device).to(dtype) for _ in range(2))
    return {"x": x, "gate": modulations[:, 2], "h": h}


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("shape", [(2, 257, 1152), (5, 1, 1152), (3, 5, 384), (4, 3, 12), (2, 2, 1), (0, 4, 8)])
def test_equals_the_definition(
    shape: tuple[int, int, int], dtype: torch.dtype, rtol: float, atol: float, device: torch.device
) -> None:
    arguments = inputs(*shape, dtype, device)
    expected = gate_residual_reference(*(value.double() for value in arguments.values()))
    got = gate_residual_triton(**arguments)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), expected, rtol=rtol, atol=atol)


def test_a_row_alone_and_among_others_is_bitwise_equal(device: torch.device) -> None:
    arguments = inputs(4, 3, 1152, torch.float32, device)
    together = gate_residual_triton(**arguments)
    for row in range(4):
        alone = {name: value[row:row + 1] for name, value in arguments.items()}
        assert torch.equal(gate_residual_triton(**alone), together[row:row + 1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row(device: torch.device) -> None:
    arguments = inputs(3, 2, 1152, torch.float32, device)
    clean = gate_residual_triton(**arguments)
    arguments["h"][0], arguments["gate"][2] = float("nan"), float("inf")
    got = gate_residual_triton(**arguments)
    assert torch.equal(got[1], clean[1])
    assert got[0].isnan().all()
    assert got[2].isinf().all()


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("h", (2, 3, 4), r"h must have x's shape \(2, 3, 8\), got \(2, 3, 4\)"),
        ("gate", (1, 8), r"gate must be \(N, D\) = \(2, 8\), got \(1, 8\)"),
        ("h", torch.float16, "h must have x's dtype torch.float32, got torch.float16"),
        ("h", "strides", r"h must be contiguous, got strides \(48, 16, 2\)"),
        ("gate", "strides", r"gate must have stride 1 in its last side, got strides \(16, 2\)"),
        ("gate", "meta", "gate must be on x's device .*, got meta"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    with pytest.raises(ValueError, match=words):
        gate_residual_triton(**spoiled(inputs(2, 3, 8, torch.float32, device), name, what))


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    arguments = tuple(inputs(2, 3, 48, torch.float32, device).values())
    torch.library.opcheck(gate_residual_triton, arguments, test_utils=("test_schema", "test_faketensor"))
