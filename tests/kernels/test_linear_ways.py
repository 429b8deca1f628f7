"""Where each way to a product can be gone, and what cuBLASLt is denied. Fake tensors stand in for a card's."""

from __future__ import annotations

import os

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dit_serve.kernels import linear_ways
from dit_serve.kernels.launch import triton
from dit_serve.kernels.linear_ways import BLAS, FLOAT8_BLAS, FLOAT8_WHOLE, WHOLE, Way, starve_cublaslt

needs_triton = pytest.mark.skipif(triton is None, reason="no Triton for this machine: no way is taken")


def taken(
    ways: tuple[Way, ...], device: str, dtype: torch.dtype, epilogue: str = "none",
    size: int = 4608, rows: int = 2, out: int = 1152,
) -> list[str]:
    """Return the names of the ways that take x (rows, 4, size) and a weight (out, size)."""
    with FakeTensorMode(), torch.no_grad():
        x, weight = (torch.empty(*shape, size, dtype=dtype, device=device) for shape in ((rows, 4), (out,)))
        return [way.name for way in ways if way.takes(x, weight, epilogue)]


def test_no_way_is_taken_without_a_card() -> None:
    assert not taken(WHOLE + BLAS, "cpu", torch.float32)
    assert not taken(FLOAT8_WHOLE + FLOAT8_BLAS, "cpu", torch.float8_e4m3fn)


@needs_triton
def test_every_tile_of_a_dtype_is_a_way_on_a_card() -> None:
    assert taken(WHOLE, "cuda", torch.float32) == ["64x64"]
    assert set(taken(WHOLE, "cuda", torch.bfloat16)) == {"128x256", "128x128", "64x128", "64x64"}
    assert taken(WHOLE, "cuda", torch.float16, "gelu_tanh") == taken(WHOLE, "cuda", torch.float16)
    assert not taken(WHOLE, "cuda", torch.float64)


def a_card(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


@needs_triton
def test_float8_has_ways_where_the_card_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    a_card(monkeypatch, (9, 0))
    hoppers = taken(FLOAT8_WHOLE + FLOAT8_BLAS, "cuda", torch.float8_e4m3fn)
    assert hoppers == ["128x128", "64x128", "64x64", "blas"]
    assert not taken(FLOAT8_WHOLE + FLOAT8_BLAS, "cuda", torch.float8_e4m3fn, "gelu_tanh")
    assert not taken(FLOAT8_WHOLE + FLOAT8_BLAS, "cuda", torch.bfloat16)
    assert not taken(FLOAT8_BLAS, "cuda", torch.float8_e4m3fn, out=1160)
    a_card(monkeypatch, (8, 9))
    assert taken(FLOAT8_WHOLE + FLOAT8_BLAS, "cuda", torch.float8_e4m3fn) == ["128x128", "64x128", "64x64"]
    a_card(monkeypatch, (8, 0))
    assert not taken(FLOAT8_WHOLE + FLOAT8_BLAS, "cuda", torch.float8_e4m3fn)


@needs_triton
def test_the_library_is_a_way_on_a_card_if_there_are_rows() -> None:
    assert taken(BLAS, "cuda", torch.bfloat16, "gelu_tanh") == ["blas"]
    assert not taken(BLAS, "cuda", torch.bfloat16, rows=0)


def test_names_are_unique_in_a_family() -> None:
    for ways in (WHOLE, BLAS, FLOAT8_WHOLE, FLOAT8_BLAS):
        assert len({way.name for way in ways}) == len(ways)


@pytest.mark.parametrize("has_setting", [True, False])
def test_cublaslt_is_left_no_workspace_and_no_splitting(monkeypatch: pytest.MonkeyPatch, has_setting: bool) -> None:
    class Matmul:
        allow_bf16_reduced_precision_reduction: object = True
        allow_fp16_reduced_precision_reduction: object = True

    asked: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cuda, "matmul", Matmul())
    monkeypatch.setattr(torch.backends.cuda, "preferred_blas_library", asked.append)
    monkeypatch.delenv("CUBLASLT_WORKSPACE_SIZE", raising=False)
    monkeypatch.setattr(torch.backends.cuda, "cublaslt_workspace_size", asked.append, raising=False)
    if not has_setting:
        monkeypatch.delattr(torch.backends.cuda, "cublaslt_workspace_size")
    for _ in range(2):
        starve_cublaslt()
        assert asked == ([1024] if has_setting else []) + ["cublaslt"]
        assert os.environ.pop("CUBLASLT_WORKSPACE_SIZE", None) == (None if has_setting else "1")
        assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == (False, False)
        assert torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction == (False, False)
        asked.clear()


def test_without_a_card_nothing_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("CUBLASLT_WORKSPACE_SIZE", raising=False)
    before = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    linear_ways.starve_cublaslt()
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == before
    assert "CUBLASLT_WORKSPACE_SIZE" not in os.environ
