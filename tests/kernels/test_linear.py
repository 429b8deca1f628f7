"""linear against the formulas of its epilogues in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from dit_serve.kernels.linear import linear, linear_reference, takes_onednn

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def layer(out: int, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    return (torch.randn(out, size) / math.sqrt(size)).to(dtype), torch.randn(out).to(dtype)


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2  # arXiv 1606.08415, section 2


def has_fused_gelu(dtype: torch.dtype) -> bool:
    x = torch.zeros(1, 16, 16, dtype=dtype)
    return takes_onednn(x, x[0], x[0, 0])


def test_each_epilogue_equals_its_formula() -> None:
    x, weight, bias = torch.randn(2, 5, 16), torch.randn(8, 16), torch.randn(8)
    plain = x.double() @ weight.double().T + bias.double()
    close = {"rtol": 1e-5, "atol": 1e-5}  # float32 sums of 16
    torch.testing.assert_close(linear(x, weight, bias).double(), plain, **close)
    torch.testing.assert_close(linear(x, weight, bias, "gelu_tanh").double(), gelu(plain), **close)


def test_an_unknown_epilogue_is_refused() -> None:
    with pytest.raises(ValueError, match="epilogue must be one of none, gelu_tanh, got 'relu'"):
        linear(torch.zeros(1, 2, 8), torch.zeros(4, 8), torch.zeros(4), "relu")


def test_a_residual_is_added_to_every_sequence_and_goes_with_no_activation() -> None:
    x, weight, bias, residual = torch.randn(2, 5, 16), torch.randn(8, 16), torch.randn(8), torch.randn(5, 8)
    plain = x.double() @ weight.double().T + bias.double() + residual.double()
    torch.testing.assert_close(linear(x, weight, bias, residual=residual).double(), plain, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="a residual goes with the epilogue none, got 'gelu_tanh'"):
        linear(x, weight, bias, "gelu_tanh", residual=residual)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 72, 1152])
def test_gelu_equals_its_formula_in_both_tails(size: int, dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 12, 208).to(dtype)[None, :, None].expand(1, -1, size).contiguous()
    weight, bias = layer(48, size, dtype)
    plain = x.double() @ weight.double().T + bias.double()
    got = linear(x, weight, bias, "gelu_tanh")
    assert got.dtype == dtype
    # a float32 sum errs by its terms, not by its size; bfloat16 rounds at the end, twice where oneDNN does not fuse
    terms = x.double().abs() @ weight.double().abs().T + bias.double().abs()
    rtol, of_terms, least = (1e-5, 2**-23, 1e-6) if dtype == torch.float32 else (2**-8, 2**-23, 0.01)
    assert ((got.double() - gelu(plain)).abs() <= rtol * gelu(plain).abs() + of_terms * terms + least).all()


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("epilogue", ["none", "gelu_tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("out", "size"), [(480, 160), (160, 640), (4608, 1152), (1152, 4608), (160, 16), (52, 52)])
def test_a_row_is_bitwise_the_same_among_any_multiple_of_sixteen_on_any_threads(
    out: int, size: int, dtype: torch.dtype, epilogue: str
) -> None:
    weight, bias = layer(out, size, dtype)
    x = torch.randn(1, 528, size).to(dtype)
    together = linear(x, weight, bias, epilogue)
    torch.set_num_threads(1)
    for rows in (16, 48, 256, 272, 512):
        first = int(torch.randint(0, 528 - rows + 1, ()))
        alone = linear(x[:, first : first + rows].clone(), weight, bias, epilogue)
        assert torch.equal(alone, together[:, first : first + rows])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_in_its_row_through_gelu(dtype: torch.dtype) -> None:
    weight, bias = layer(64, 32, dtype)
    x = torch.randn(1, 32, 32).to(dtype)
    clean = linear(x, weight, bias, "gelu_tanh")
    x[0, 3, 5], x[0, 20, 0] = float("nan"), float("inf")
    got = linear(x, weight, bias, "gelu_tanh")
    assert not got[0, 3].isfinite().any()
    assert not got[0, 20].isfinite().all()
    others = [row for row in range(32) if row not in (3, 20)]
    assert torch.equal(got[0, others], clean[0, others])


def test_gelu_without_onednns_form_is_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, bias = layer(64, 32, torch.float32)
    x = torch.randn(2, 16, 32)
    fused = linear(x, weight, bias, "gelu_tanh")
    monkeypatch.setattr("dit_serve.kernels.linear.takes_onednn", lambda *tensors: False)
    plain = linear(x, weight, bias, "gelu_tanh")
    assert torch.equal(plain, linear_reference(x, weight, bias, "gelu_tanh"))
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-6)  # float32


@pytest.mark.skipif(not has_fused_gelu(torch.float32), reason="this torch has no fused products of oneDNN")
def test_gelu_is_fused_only_where_nothing_is_differentiated_and_the_processor_has_the_dtype() -> None:
    x, (weight, bias) = torch.randn(1, 16, 8), layer(4, 8, torch.float32)
    weight.requires_grad_()
    linear(x, weight, bias, "gelu_tanh").sum().backward()
    assert weight.grad is not None
    assert weight.grad.any()
    with torch.no_grad():
        assert takes_onednn(x, weight, bias)
    assert not takes_onednn(x, weight, bias)
    assert not takes_onednn(x.double(), weight.detach().double(), bias.double())
    assert not takes_onednn(x.half(), weight.detach().half(), bias.half())
    assert not takes_onednn(x.to("meta"), weight.detach(), bias)
