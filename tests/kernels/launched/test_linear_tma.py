"""The persistent kernel of described blocks: the bits of kernels/linear.py, however many tiles a program has to do."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels import linear_tma
from dit_serve.kernels.launch import is_interpreted, reaches
from dit_serve.kernels.linear import EPILOGUES, linear_triton
from dit_serve.kernels.linear_tma import ACCELERATOR_CAPABILITY, TILES, linear_tma_triton
from tests.kernels.launched.spoil import spoiled
from tests.kernels.launched.test_linear import in_eighths, make_arguments

pytestmark = pytest.mark.skipif(
    not is_interpreted() and torch.cuda.is_available() and not reaches(torch.device("cuda"), ACCELERATOR_CAPABILITY),
    reason="the tensor memory accelerator came with compute capability 9.0",
)


@pytest.mark.parametrize("tile", list(TILES))
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_a_program_that_does_many_tiles_gives_the_other_kernels_bits(
    epilogue: str, tile: str, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    monkeypatch.setattr(linear_tma, "_multiprocessors", lambda device: 1)
    arguments = make_arguments((3, 67, 128, 264), epilogue, torch.bfloat16, device)
    if is_interpreted():  # whose BLAS may sum a tile's edge in another order
        arguments = in_eighths(arguments)
    assert torch.equal(linear_tma_triton(**arguments, tile=tile), linear_triton(**arguments))


def test_no_rows_give_no_rows(device: torch.device) -> None:
    assert linear_tma_triton(**make_arguments((0, 4, 64, 8), "none", torch.bfloat16, device)).shape == (0, 4, 8)


@pytest.mark.parametrize(
    ("name", "what", "words"),
    [
        ("x", (3, 64), r"x must be \(N, T, K\), got \(3, 64\)"),
        ("weight", (16, 128), r"weight must be \(O = 16, K = 64\), got \(16, 128\)"),
        ("epilogue", "relu", "epilogue must be one of none, gelu_tanh, got 'relu'"),
        ("tile", "8x8", "tile must be one of 128x256, 128x128, 64x128, got '8x8'"),
        ("weight", torch.float16, r"weight must have x's dtype torch\.bfloat16, got torch\.float16"),
        ("weight", "strides", r"weight must be contiguous, got strides \(128, 2\)"),
    ],
)
def test_what_any_product_cannot_take_is_refused_with_its_value(
    name: str, what: object, words: str, device: torch.device
) -> None:
    arguments = make_arguments((2, 3, 64, 16), "none", torch.bfloat16, device) | {"tile": "128x128"}
    with pytest.raises(ValueError, match=words):
        linear_tma_triton(**spoiled(arguments, name, what))


@pytest.mark.parametrize(
    ("size", "out", "dtype", "words"),
    [
        (72, 16, torch.bfloat16, "K must be a multiple of 64, got 72"),
        (64, 12, torch.bfloat16, "O must be a multiple of 8, got 12"),
        (64, 16, torch.float32, r"x must be one of torch\.float16, torch\.bfloat16, .*, got torch\.float32"),
    ],
)
def test_what_the_accelerator_cannot_take_is_refused_with_its_value(
    size: int, out: int, dtype: torch.dtype, words: str, device: torch.device
) -> None:
    with pytest.raises(ValueError, match=words):
        linear_tma_triton(**make_arguments((2, 3, size, out), "none", dtype, device))


def test_a_tensor_that_begins_between_is_refused(device: torch.device) -> None:
    arguments = make_arguments((1, 3, 64, 16), "none", torch.bfloat16, device)
    arguments["x"] = torch.zeros(3 * 64 + 1, device=device, dtype=torch.bfloat16)[1:].view(1, 3, 64)
    with pytest.raises(ValueError, match="a tensor must begin at a multiple of 16 bytes, got address 0x"):
        linear_tma_triton(**arguments)


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_is_a_custom_op_whose_fake_agrees(epilogue: str, device: torch.device) -> None:
    arguments = make_arguments((2, 3, 64, 24), epilogue, torch.bfloat16, device)
    checks = ("test_schema", "test_faketensor")
    torch.library.opcheck(linear_tma_triton, (*arguments.values(), "128x128"), test_utils=checks)
