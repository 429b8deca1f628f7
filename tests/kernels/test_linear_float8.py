"""linear_float8 as the models call it: the definition on the CPU, refused by a card that cannot multiply float8."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dit_serve.kernels.linear_float8 import linear_float8, linear_float8_launch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_scales_of_rows_and_outputs_and_the_bias_are_applied(dtype: torch.dtype) -> None:
    x, weight = (torch.randn(shape).mul(50).to(torch.float8_e4m3fn) for shape in ((2, 5, 72), (24, 72)))
    x_scales, weight_scales, bias = torch.rand(2, 5), torch.rand(24) / 100, torch.randn(24).to(dtype)
    got = linear_float8(x, x_scales, weight, weight_scales, bias)
    left, right = x.double() * x_scales.double()[..., None], weight.double() * weight_scales.double()[:, None]
    terms = left.abs() @ right.abs().T + bias.double().abs()
    assert got.dtype == dtype
    error = (got.double() - (left @ right.T + bias.double())).abs()
    assert (error <= 1e-6 * terms + torch.finfo(dtype).eps * got.double().abs()).all()  # float32 sums, then a rounding


def test_a_card_without_products_of_float8_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    with FakeTensorMode(), torch.no_grad():
        x, weight = (torch.empty(shape, device="cuda").to(torch.float8_e4m3fn) for shape in ((1, 4, 128), (8, 128)))
        scales, vector = torch.empty(1, 4, device="cuda"), torch.empty(8, device="cuda")
        with pytest.raises(ValueError, match=r"needs an NVIDIA card of compute capability 8\.9 or more, got 8\.6"):
            linear_float8_launch(x, scales, weight, vector, vector).run()
