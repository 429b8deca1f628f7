"""Every kernel with its definition in torch's own operators, on random tensors of DiT-XL/2's shapes and of odd ones.

The same cases are checked against float64 and timed. Triton decides when it is first imported whether kernels are
interpreted on the processor: TRITON_INTERPRET must be set before this module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from dit_serve.kernels.add_bias import add_bias_reference, add_bias_triton
from dit_serve.kernels.attention import attention_reference, attention_triton
from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate_float8_reference,
    gate_residual_layernorm_modulate_float8_triton,
    gate_residual_layernorm_modulate_reference,
    gate_residual_layernorm_modulate_triton,
)
from dit_serve.kernels.gelu_float8 import gelu_float8_reference, gelu_float8_triton
from dit_serve.kernels.groupnorm_silu import groupnorm_silu_reference, groupnorm_silu_triton
from dit_serve.kernels.launch import FLOAT8_CAPABILITY, reaches, takes_kernel
from dit_serve.kernels.layernorm_modulate import (
    layernorm_modulate_float8_reference,
    layernorm_modulate_float8_triton,
    layernorm_modulate_reference,
    layernorm_modulate_triton,
)
from dit_serve.kernels.linear import linear_reference, linear_triton
from dit_serve.kernels.linear_float8 import linear_float8_reference, linear_float8_triton
from dit_serve.kernels.sampler_step import sampler_step_reference, sampler_step_triton

EPS = 1e-6
PATCH = 16  # numbers in a patch of 2 x 2 of four channels


class Shape(NamedTuple):
    """What a step of the network works on: sequences, tokens each, width, heads, width of the MLP's hidden layer."""

    sequences: int
    tokens: int
    width: int = 1152
    heads: int = 16
    mlp: int = 4608


TIMED = (Shape(64, 256), Shape(16, 1024), Shape(2, 256))  # those that decide first
CHECKED = (Shape(2, 256), Shape(2, 1024), Shape(3, 257), Shape(1, 1), Shape(5, 65, 384, 6, 1536))
TINY = (Shape(2, 5, width=72, heads=1, mlp=96),)


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel on one shape.

    Attributes:
        name: of the kernel and its shape.
        kernel: the launcher.
        reference: the definition, in torch's own operators.
        arguments: of either.
        amount: bytes that must move, or floating point operations.
        unit: "GB/s" or "TFLOP/s", which says what the amount is.
    """

    name: str
    kernel: Callable[..., Any]
    reference: Callable[..., Any]
    arguments: tuple[Any, ...]
    amount: float
    unit: str

    def ours(self) -> Any:
        """Return what the kernel computes."""
        return self.kernel(*self.arguments)

    def torchs(self) -> Any:
        """Return what torch's own operators compute."""
        return self.reference(*self.arguments)

    def exact(self) -> Any:
        """Return what they compute in float64."""
        is_real = [isinstance(a, torch.Tensor) and a.is_floating_point() for a in self.arguments]
        return self.reference(*(a.double() if real else a for a, real in zip(self.arguments, is_real, strict=True)))


def cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield every kernel's case on a shape."""
    yield from fused_cases(shape, dtype, device)
    yield from _linear_cases(shape, dtype, device)


def fused_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the cases of all that is done between the matrix products."""
    yield from _token_cases(shape, dtype, device)
    if dtype == torch.bfloat16 and takes_kernel(torch.empty(0, device=device), least=FLOAT8_CAPABILITY):
        yield from _float8_cases(shape, dtype, device)
    yield _sampler_step_case(shape, device)
    yield from _groupnorm_cases(shape, dtype, device)
    yield from _add_bias_cases(shape, dtype, device)


def _token_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the kernels between the matrix products."""
    n, t, width, heads, _ = shape
    x, h = (torch.randn(n, t, width, device=device, dtype=dtype) for _ in range(2))
    qkv = torch.randn(n, t, 3 * width, device=device, dtype=dtype)
    shift, scale, gate = torch.randn(n, 6, width, device=device, dtype=dtype).unbind(1)[:3]
    size = 1.0 * x.numel() * x.element_size()
    where = f"{n} x {t} x {width}"
    yield Case(
        f"layernorm_modulate {where}", layernorm_modulate_triton, layernorm_modulate_reference,
        (x, shift, scale, EPS), 2 * size, "GB/s",
    )
    yield Case(
        f"gate_residual_layernorm_modulate {where}",
        gate_residual_layernorm_modulate_triton, gate_residual_layernorm_modulate_reference,
        (x, gate, h, shift, scale, EPS, torch.randperm(n, device=device)), 4 * size, "GB/s",
    )
    yield Case(
        f"attention {where}", attention_triton, attention_reference, (qkv, heads), 4.0 * n * t * t * width, "TFLOP/s"
    )


def _float8_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the kernels that leave their result in eight-bit floats, one byte a number."""
    n, t, width, _, mlp = shape
    x, h = (torch.randn(n, t, width, device=device, dtype=dtype) for _ in range(2))
    hidden = torch.randn(n, t, mlp, device=device, dtype=dtype)
    shift, scale, gate = torch.randn(n, 6, width, device=device, dtype=dtype).unbind(1)[:3]
    rows, numbers, size = torch.randperm(n, device=device), 1.0 * x.numel(), x.element_size()
    yield Case(
        f"layernorm_modulate_float8 {n} x {t} x {width}",
        layernorm_modulate_float8_triton, layernorm_modulate_float8_reference,
        (x, shift, scale, EPS, rows), numbers * (size + 1), "GB/s",
    )
    yield Case(
        f"gate_residual_layernorm_modulate_float8 {n} x {t} x {width}",
        gate_residual_layernorm_modulate_float8_triton, gate_residual_layernorm_modulate_float8_reference,
        (x, gate, h, shift, scale, EPS, rows), numbers * (3 * size + 1), "GB/s",
    )
    yield Case(
        f"gelu_float8 {n} x {t} x {mlp}", gelu_float8_triton, gelu_float8_reference,
        (hidden,), 1.0 * hidden.numel() * (size + 1), "GB/s",
    )


def _linear_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the four layers of a block and that of the patches, as the network calls them."""
    n, t, width, _, mlp = shape
    layers = (
        ("qkv", width, 3 * width, "none"), ("proj", width, width, "none"),
        ("fc1", width, mlp, "gelu_tanh"), ("fc2", mlp, width, "none"),
    )
    for name, size, out, epilogue in layers:
        yield Case(
            f"linear {name}, {epilogue} {n} x {t} x {size}", linear_triton, linear_reference,
            (*_layer(n, t, size, out, dtype, device), epilogue), 2.0 * n * t * size * out, "TFLOP/s",
        )
    if dtype == torch.bfloat16 and device.type == "cuda" and reaches(device, FLOAT8_CAPABILITY):
        yield _float8_product(_layer(n, t, mlp, width, dtype, device))
    positions = torch.randn(t, width, device=device, dtype=dtype)
    yield Case(
        f"linear patches, residual {n} x {t} x {PATCH}", linear_triton, linear_reference,
        (*_layer(n, t, PATCH, width, dtype, device), "none", positions),
        1.0 * (n + 1) * positions.numel() * positions.element_size(), "GB/s",
    )


def _float8_product(fc2: tuple[torch.Tensor, ...]) -> Case:
    """Return fc2 of operands of float8."""
    n, t, size = fc2[0].shape
    x, weight = (each.to(torch.float8_e4m3fn) for each in fc2[:2])
    x_scales, weight_scales = torch.rand(n, t, device=x.device), torch.rand(len(weight), device=x.device)
    return Case(
        f"linear_float8 fc2 {n} x {t} x {size}", linear_float8_triton, linear_float8_reference,
        (x, x_scales, weight, weight_scales, fc2[2]), 2.0 * n * t * weight.numel(), "TFLOP/s",
    )


def _layer(
    n: int, t: int, size: int, out: int, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random x (n, t, size), weight (out, size) and bias (out,)."""
    x = torch.randn(n, t, size, device=device, dtype=dtype)
    weight = torch.randn(out, size, device=device, dtype=dtype) / size**0.5
    return x, weight, torch.randn(out, device=device, dtype=dtype)


def _sampler_step_case(shape: Shape, device: torch.device) -> Case:
    """Return the update of half as many rows as sequences, all guided, on the latents of that many tokens."""
    rows, side = max(shape.sequences // 2, 1), 2 * max(round(shape.tokens**0.5), 1)
    x, x0_prev, noise = (torch.randn(rows, 4, side, side, device=device) for _ in range(3))
    out = torch.randn(2 * rows, 8, side, side, device=device)
    null_rows = torch.arange(rows, 2 * rows, device=device)
    guidance, coefficients = torch.full((rows,), 4.0, device=device), torch.rand(rows, 10, device=device)
    moved = 8.75 * x.numel() * 4  # x, out twice as wide, 3 of its null's 4 channels, x0_prev, noise; two written
    return Case(
        f"sampler_step {rows} x 4 x {side} x {side}", sampler_step_triton, sampler_step_reference,
        (x, out, null_rows, guidance, 3, coefficients, x0_prev, noise), moved, "GB/s",
    )


def _groupnorm_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the first and the last norm of Stable Diffusion's decoder, for one image of that many tokens."""
    latent_side = 2 * max(round(shape.tokens**0.5), 1)
    for channels, side in (512, latent_side), (128, 8 * latent_side):
        x = torch.randn(1, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        weight, bias = torch.randn(2, channels, device=device, dtype=dtype).unbind(0)
        yield Case(
            f"groupnorm_silu 1 x {channels} x {side} x {side}", groupnorm_silu_triton, groupnorm_silu_reference,
            (x, 32, weight, bias, EPS, True), 2.0 * x.numel() * x.element_size(), "GB/s",
        )


def _add_bias_cases(shape: Shape, dtype: torch.dtype, device: torch.device) -> Iterator[Case]:
    """Yield the ends of that decoder's blocks, the first before an upsampling and the last, and a bias by itself."""
    latent_side = 2 * max(round(shape.tokens**0.5), 1)
    last = 8 * latent_side
    forms = (512, latent_side, True, 2), (128, last, True, 1), (128, last, False, 1)
    for channels, side, has_residual, upsampling in forms:
        h, residual = (
            torch.randn(1, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
            for _ in range(2)
        )
        what = ("residual, upsampled " if upsampling == 2 else "residual ") if has_residual else ""
        yield Case(
            f"add_bias {what}1 x {channels} x {side} x {side}", add_bias_triton, add_bias_reference,
            (h, torch.randn(channels, device=device, dtype=dtype), residual if has_residual else None, upsampling),
            (1.0 + has_residual + upsampling**2) * h.numel() * h.element_size(), "GB/s",
        )
