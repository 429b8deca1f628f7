"""Which device and number format are chosen, and which are refused."""

from __future__ import annotations

import pytest
import torch

from dit_serve.models.device import check_precision, choose_device, choose_dtype
from dit_serve.models.errors import DeviceError


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


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({"architecture": "aarch64", "bf16": True}, torch.float32),
    ],
)
def test_a_processor_computes_in_bfloat16_where_it_multiplies_it_by_itself(
    abilities: dict[str, object], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert choose_dtype(None, torch.device("cpu")) is expected


def test_a_processor_computes_in_float32_where_torch_cannot_tell_or_lacks_onednn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_dtype(None, torch.device("cpu")) is torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert choose_dtype(None, torch.device("cpu")) is torch.float32


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float16), ((7, 0), torch.float16),
        ((6, 1), torch.float32),
    ],
)
def test_a_card_computes_in_the_smallest_format_that_it_has(
    capability: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_dtype(None, torch.device("cuda")) is expected


def test_an_amd_card_computes_in_bfloat16_and_metal_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert choose_dtype(None, torch.device("cuda")) is torch.bfloat16
    assert choose_dtype(None, torch.device("mps")) is torch.float32


def test_the_number_format_asked_for_is_taken() -> None:
    cpu = torch.device("cpu")
    assert choose_dtype("float32", cpu) is torch.float32
    assert choose_dtype("bfloat16", cpu) is torch.bfloat16
    assert choose_dtype(torch.float16, cpu) is torch.float16


@pytest.mark.parametrize(
    ("capability", "hip", "got"),
    [((8, 6), None, "cuda:1 of 8.6"), ((9, 4), "7.0", "an AMD card, whose float8 is another one, as cuda:1")],
)
def test_a_card_without_float8_products_is_told_what_is_needed(
    capability: tuple[int, int], hip: str | None, got: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with pytest.raises(DeviceError, match=f"needs an NVIDIA card of compute capability 8.9 or later, got {got}"):
        check_precision("fp8", torch.device("cuda:1"))
    check_precision(None, torch.device("cuda:1"))


@pytest.mark.parametrize("capability", [(8, 9), (9, 0), (10, 0)])
def test_a_card_with_float8_products_is_taken(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    check_precision("fp8", torch.device("cuda"))


@pytest.mark.parametrize("name", ["fp8", "float64", torch.int8])
def test_a_number_format_of_another_kind_is_refused(name: str | torch.dtype) -> None:
    with pytest.raises(DeviceError, match="is none of float32, bfloat16, float16"):
        choose_dtype(name, torch.device("cpu"))
