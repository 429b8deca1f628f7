"""Tests of the launchers themselves: on the CPU in Triton's interpreter, or on a card.

Triton decides once a process, when it is imported, whether kernels are interpreted. So these tests run in a process
of their own with TRITON_INTERPRET=1 (tests/kernels/test_interpreter.py starts it in every run of the suite); in a
process without it they are marked `gpu`: `pytest -m gpu tests/kernels` runs the same facts compiled on a card.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_serve.kernels.launch import is_interpreted


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not is_interpreted():
        for item in items:
            if item.path.parent == Path(__file__).parent:
                item.add_marker(pytest.mark.gpu)


@pytest.fixture
def device() -> torch.device:
    return torch.device("cpu" if is_interpreted() else "cuda")


@pytest.fixture(autouse=True)
def products_of_bfloat16_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widen the operands of the interpreter's matrix products, as the hardware does.

    Triton 3.7's interpreter keeps bfloat16 as 16-bit integers and multiplies those (triton-lang/triton issue 11584).
    """
    if not is_interpreted():
        return
    import numpy as np
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def widened(handle: Any) -> Any:
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    product: Callable[..., Any] = InterpreterBuilder.create_dot
    monkeypatch.setattr(
        InterpreterBuilder, "create_dot", lambda self, a, b, *rest: product(self, widened(a), widened(b), *rest)
    )


@pytest.fixture(autouse=True)
def conversions_to_float8_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch convert float32 to float8_e4m3fn: to nearest even, NaN to NaN, as `cvt.rn.satfinite` does on a card.

    Triton 3.7's interpreter loses the carry where rounding up reaches the next power of two, and makes 384 of NaN.
    """
    if not is_interpreted():
        return
    import triton.language as tl
    from triton.runtime import interpreter

    convert: Callable[..., Any] = interpreter._convert_float

    def converted(values: Any, of: Any, to: Any, rounding: Any) -> Any:
        if (of, to) != (tl.float32, tl.float8e4nv):
            return convert(values, of, to, rounding)
        return torch.from_numpy(values).to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", converted)
