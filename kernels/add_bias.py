"""What is added to a convolution's output, and nearest upsampling, in one pass: y = up(h + bias + residual).

cuDNN's convolutions add no bias: torch adds it in a pass of its own, which reads and writes the image once more, as do
the addition of a residual and each upsampling after it. Here they are one pass, on memory in which channels lie
together, (N, H, W, C). An upsampled image is written from the one before: each number is read once and written to its
places.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op

BLOCK_BYTES = 4096  # of an image that a program of four warps reads: two loads of 16 bytes a thread


def add_bias_reference(
    h: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None = None, upsampling: int = 1
) -> torch.Tensor:
    """Return h + bias + residual, summed in float32 at least and rounded once, (N, C, upsampling H, upsampling W).

    Args:
        h: (N, C, H, W).
        bias: (C,).
        residual: (N, C, H, W), or None for nothing.
        upsampling: 1, or 2 for each pixel in 2 x 2 places.
    """
    _sizes(h, bias, residual, upsampling)
    wide = torch.promote_types(h.dtype, torch.float32)
    y = h.to(wide) + bias.to(wide).view(-1, 1, 1)
    if residual is not None:
        y = y + residual.to(wide)
    y = y.to(h.dtype)
    return y if upsampling == 1 else F.interpolate(y, scale_factor=float(upsampling), mode="nearest")


@jit()
def add_bias_kernel(  # type: ignore[no-untyped-def]
    h_ptr,  # (N, H, W, C)
    bias_ptr,  # (C,)
    residual_ptr,  # (N, H, W, C), or None
    y_ptr,  # (N, UPSAMPLING H, UPSAMPLING W, C)
    SIZE: tl.constexpr,  # H·W·C
    W: tl.constexpr,
    C: tl.constexpr,
    UPSAMPLING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program reads BLOCK numbers of one image, and writes their sums to all their places."""
    BLOCKS: tl.constexpr = (SIZE + BLOCK - 1) // BLOCK
    image = (tl.program_id(0) // BLOCKS).to(tl.int64)
    block = tl.program_id(0) % BLOCKS
    if UPSAMPLING * UPSAMPLING * SIZE + BLOCK > 2**31:
        block = block.to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    inside = None
    if SIZE % BLOCK != 0:
        inside = at < SIZE
    channel = at % C
    y = tl.load(h_ptr + image * SIZE + at, mask=inside).to(tl.float32) + tl.load(bias_ptr + channel).to(tl.float32)
    if residual_ptr is not None:
        y += tl.load(residual_ptr + image * SIZE + at, mask=inside).to(tl.float32)
    y = y.to(y_ptr.dtype.element_ty)
    y_ptr += image * (UPSAMPLING * UPSAMPLING * SIZE)
    if UPSAMPLING == 1:
        tl.store(y_ptr + at, y, mask=inside)
    else:
        pixel = at // C
        y_ptr += (2 * pixel + pixel // W * (2 * W)) * C + channel
        for place in tl.static_range(4):
            tl.store(y_ptr + (place // 2 * (2 * W) + place % 2) * C, y, mask=inside)


def add_bias_launch(
    h: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None = None, upsampling: int = 1
) -> Launch:
    """Return the launch for h and residual in channels_last; bias may be float32 beside any h."""
    rows, channels, height, width = _sizes(h, bias, residual, upsampling)
    images = {"h": h} | ({} if residual is None else {"residual": residual})
    checks.alike(**images)
    checks.channels_last(**images)
    checks.device(h=h, bias=bias)
    if bias.dtype not in (h.dtype, torch.float32):
        raise ValueError(f"bias must have h's dtype {h.dtype} or torch.float32, got {bias.dtype}")
    checks.dense_vectors(bias=bias)
    shape = (rows, channels, upsampling * height, upsampling * width)
    y = torch.empty(shape, dtype=h.dtype, device=h.device, memory_format=torch.channels_last)
    size, block = height * width * channels, BLOCK_BYTES // h.element_size()
    arguments = {
        "h_ptr": h, "bias_ptr": bias, "residual_ptr": residual, "y_ptr": y, "SIZE": size, "W": width, "C": channels,
        "UPSAMPLING": upsampling, "BLOCK": block,
    }
    return Launch(y, add_bias_kernel, rows * -(-size // block), arguments, {"num_warps": 4})


add_bias_triton = torch_op(add_bias_reference, add_bias_launch)


def add_bias(
    h: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None = None, upsampling: int = 1
) -> torch.Tensor:
    """Return up(h + bias + residual), see `_reference`: on a card by the kernel, where all is in channels_last.

    Raises:
        ValueError: bias is not (C,), residual not as h, upsampling not 1 or 2, or the kernel cannot take a dtype or
            device.
    """
    images = [h] if residual is None else [h, residual]
    is_there = all(each.dim() == 4 and each.is_contiguous(memory_format=torch.channels_last) for each in images)
    if takes_kernel(h, bias, residual) and is_there:
        return add_bias_triton(h, bias, residual, upsampling)
    return add_bias_reference(h, bias, residual, upsampling)


def _sizes(h: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor | None, upsampling: int) -> tuple[int, ...]:
    images = {"h": (h, "NCHW")} | ({} if residual is None else {"residual": (residual, "NCHW")})
    if upsampling not in (1, 2):
        raise ValueError(f"upsampling must be 1 or 2, got {upsampling}")
    return checks.sizes(**images, bias=(bias, "C"))
