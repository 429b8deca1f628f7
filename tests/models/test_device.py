"""Which device and number format are chosen, and which are refused."""

from __future__ import annotations

import pytest
import torch

from models.device import choose_device, choose_dtype
from models.errors import DeviceError


@pytest.mark.parametrize("name", ["tpu", "meta", "xpu", "", "cuda:x"])
def test_a_device_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="is none of cuda, cuda:N, mps, cpu"):
        choose_device(name)


def test_a_cuda_device_past_the_last_one_is_refused_with_their_number() -> None:
    with pytest.raises(DeviceError, match=f"and {torch.cuda.device_count()} CUDA devices are present"):
        choose_device("cuda:99")


def test_a_device_is_found_where_none_is_asked_for() -> None:
    assert choose_device(None).type in ("cuda", "mps", "cpu")
    assert choose_device("cpu") == torch.device("cpu")


def test_the_cpu_computes_in_float32_unless_told_otherwise() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype(None, cpu) is torch.float32
    assert choose_dtype("bfloat16", cpu) is torch.bfloat16
    assert choose_dtype(torch.float16, cpu) is torch.float16


@pytest.mark.parametrize("name", ["fp8", "float64", torch.int8])
def test_a_number_format_of_another_kind_is_refused(name: str | torch.dtype) -> None:
    with pytest.raises(DeviceError, match="is none of float32, bfloat16, float16"):
        choose_dtype(name, torch.device("cpu"))
