"""Group norm of images, and the SiLU after it: y = silu(GN(x) weight + bias), on memory in which channels lie together.

A convolutional decoder does it before each of its convolutions (arXiv 2112.10752, appendix E). On a card those want
channels_last, (N, H, W, C) in memory; torch's own group norm would copy it to (N, C, H, W), and the convolution back.

Two launches, because statistics need all of an image: the first takes mean and M2, the sum of squares around it, of
each block of pixels; the second merges those of the blocks and normalises. Nothing is added atomically and the blocks
depend on the image's shape alone, so an image's bits do not depend on the others. Squares are summed around the mean,
never as E[x²] - E[x]², which loses the variance where the mean is large. References: Welford 1962 for a thread's turns;
Chan, Golub, LeVeque 1979 (STAN-CS-79-773), eq. 2.1, for the merge.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op

TILE = 4096  # numbers that a program of four warps holds at a time: 32 registers a thread, four loads of 16 bytes
COLUMNS = 64  # channels that a program does, if whole groups fit: 128 bytes of bfloat16, a line of the cache
PROGRAMS = 1024  # an image, at most: eight a multiprocessor of sm_90
BLOCKS = 256  # an image's channel, at most: each program of the second launch reads the statistics of all


class Division(NamedTuple):
    """How the launches divide an image: chunks of groups, and blocks of `turns` tiles of pixels."""

    groups: int  # of a chunk; a power of two
    size: int  # channels that a group takes in registers; a power of two
    chunks: int
    pixels: int  # of a tile; a power of two
    turns: int
    blocks: int


def division(channels: int, groups: int, pixels: int) -> Division:
    """Return the division of an image by its shape alone."""
    size = _power(channels // groups)
    together = min(max(COLUMNS // size, 1), _power(groups))
    chunks = -(-groups // together)
    tile = max(TILE // (together * size), 1)
    most = max(min(BLOCKS, PROGRAMS // chunks), 1)
    turns = max(-(-pixels // (tile * most)), 1)
    return Division(together, size, chunks, tile, turns, -(-pixels // (tile * turns)))


def groupnorm_silu_reference(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float, is_activated: bool
) -> torch.Tensor:
    """Return silu(GN(x) weight + bias), (N, C, H, W).

    Args:
        x: (N, C, H, W).
        groups: G; C / G channels next to each other share mean and variance.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.
        is_activated: whether the SiLU is done; else the norm is all.
    """
    _sizes(x, groups, weight, bias)
    y = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(y) if is_activated else y


@jit()
def of_groups(columns, GROUPS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the sums of each group's columns, [GROUPS]."""
    return tl.sum(tl.reshape(columns, (GROUPS, SIZE)), axis=1)


@jit()
def of_columns(groups, GROUPS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return each column's group's value, [GROUPS x SIZE]."""
    return tl.reshape(tl.broadcast_to(groups[:, None], (GROUPS, SIZE)), (GROUPS * SIZE,))


@jit()
def channels_of(chunk, WIDTH: tl.constexpr, ALL: tl.constexpr, GROUPS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return a chunk's columns' channels, and whether there is one: groups of other widths than 2ⁿ leave gaps."""
    column = tl.arange(0, GROUPS * SIZE)
    if SIZE == WIDTH:  # in a row, which lets loads be 16 bytes wide
        channel = chunk * GROUPS * WIDTH + column
        is_channel = channel < ALL * WIDTH
    else:
        group = chunk * GROUPS + column // SIZE
        channel = group * WIDTH + column % SIZE
        is_channel = (column % SIZE < WIDTH) & (group < ALL)
    return channel, is_channel


@jit()
def statistics_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, P, C), P pixels
    parts_ptr,  # (N, BLOCKS, 2, ALL) float32: of each block and group the mean and M2
    P: tl.constexpr,
    WIDTH: tl.constexpr,  # channels of a group
    ALL: tl.constexpr,  # groups
    CHUNKS: tl.constexpr,
    GROUPS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCKS: tl.constexpr,
    TURNS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """One program does one chunk of groups in one block of pixels; each number's place is a Welford sum of its own."""
    program = tl.program_id(0)
    chunk, block, image = program % CHUNKS, program // CHUNKS % BLOCKS, program // CHUNKS // BLOCKS
    channel, is_channel = channels_of(chunk, WIDTH, ALL, GROUPS, SIZE)
    first = block * TURNS * PIXELS
    x_ptr += (image.to(tl.int64) * P + first) * (ALL * WIDTH)
    row = tl.arange(0, PIXELS)
    left = tl.maximum(P - first - row, 0)
    mean = tl.zeros((PIXELS, GROUPS * SIZE), tl.float32)
    m2 = tl.zeros((PIXELS, GROUPS * SIZE), tl.float32)
    for turn in range(TURNS):
        inside = (turn * PIXELS < left)[:, None] & is_channel[None, :]
        at = (turn * PIXELS + row)[:, None] * (ALL * WIDTH) + channel[None, :]
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        step = tl.where(inside, x - mean, 0.0)
        mean += step * (1.0 / (turn + 1.0))
        m2 += step * (x - mean)
    count = tl.minimum((left + PIXELS - 1) // PIXELS, TURNS).to(tl.float32)  # of each row of places
    weight = tl.where(is_channel[None, :], count[:, None], 0.0)
    total = tl.zeros((GROUPS,), tl.float32) + tl.minimum(P - first, TURNS * PIXELS) * WIDTH
    merged = tl.div_rn(of_groups(tl.sum(mean * weight, axis=0), GROUPS, SIZE), total)
    apart = mean - of_columns(merged, GROUPS, SIZE)[None, :]
    squares = of_groups(tl.sum(m2 + weight * apart * apart, axis=0), GROUPS, SIZE)
    group = chunk * GROUPS + tl.arange(0, GROUPS)
    parts_ptr += (image.to(tl.int64) * BLOCKS + block) * 2 * ALL
    tl.store(parts_ptr + group, merged, mask=group < ALL)
    tl.store(parts_ptr + ALL + group, squares, mask=group < ALL)


@jit()
def normalise_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, P, C)
    parts_ptr,  # (N, BLOCKS, 2, ALL) float32
    weight_ptr,  # (C,)
    bias_ptr,  # (C,)
    y_ptr,  # (N, P, C)
    eps,
    P: tl.constexpr,
    WIDTH: tl.constexpr,
    ALL: tl.constexpr,
    CHUNKS: tl.constexpr,
    GROUPS: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCKS: tl.constexpr,
    HELD: tl.constexpr,  # BLOCKS, or the power of two above
    TURNS: tl.constexpr,
    PIXELS: tl.constexpr,
    IS_ACTIVATED: tl.constexpr,
):
    """One program merges all blocks' statistics of one chunk of groups, and normalises it in one block of pixels."""
    program = tl.num_programs(0) - 1 - tl.program_id(0)  # backwards: the cache still has the end of x
    chunk, block, image = program % CHUNKS, program // CHUNKS % BLOCKS, program // CHUNKS // BLOCKS
    group = chunk * GROUPS + tl.arange(0, GROUPS)
    other = tl.arange(0, HELD)
    is_part = (other < BLOCKS)[:, None] & (group < ALL)[None, :]
    parts_ptr += image.to(tl.int64) * BLOCKS * 2 * ALL + other[:, None] * 2 * ALL + group[None, :]
    means = tl.load(parts_ptr, mask=is_part, other=0.0)
    squares = tl.load(parts_ptr + ALL, mask=is_part, other=0.0)
    span: tl.constexpr = TURNS * PIXELS
    counts = (tl.minimum(tl.maximum(P - other * span, 0), span) * WIDTH).to(tl.float32)[:, None]
    total = tl.full((GROUPS,), P * WIDTH, tl.float32)
    mean = tl.div_rn(tl.sum(means * counts, axis=0), total)
    apart = means - mean[None, :]
    variance = tl.div_rn(tl.sum(squares + counts * apart * apart, axis=0), total)
    channel, is_channel = channels_of(chunk, WIDTH, ALL, GROUPS, SIZE)
    weight = tl.load(weight_ptr + channel, mask=is_channel, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=is_channel, other=0.0).to(tl.float32)
    scale = of_columns(tl.rsqrt(variance + eps), GROUPS, SIZE) * weight
    centre = of_columns(mean, GROUPS, SIZE)
    x_ptr += (image.to(tl.int64) * P + block * span) * (ALL * WIDTH)
    y_ptr += (image.to(tl.int64) * P + block * span) * (ALL * WIDTH)
    row = tl.arange(0, PIXELS)
    for turn in range(TURNS):
        inside = (block * span + turn * PIXELS + row < P)[:, None] & is_channel[None, :]
        at = (turn * PIXELS + row)[:, None] * (ALL * WIDTH) + channel[None, :]
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        y = (x - centre[None, :]) * scale[None, :] + bias[None, :]
        if IS_ACTIVATED:
            y = y * tl.sigmoid(y)
        tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=inside)


def groupnorm_silu_launches(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float, is_activated: bool
) -> tuple[Launch, ...]:
    """Return the two launches, statistics and norm, for x in channels_last."""
    rows, channels, height, width = _sizes(x, groups, weight, bias)
    checks.alike(x=x, weight=weight, bias=bias)
    checks.channels_last(x=x)
    checks.dense_vectors(weight=weight, bias=bias)
    pixels = height * width
    cut = division(channels, groups, pixels)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    parts = torch.empty((rows, cut.blocks, 2, groups), dtype=torch.float32, device=x.device)
    shape = {
        "P": pixels, "WIDTH": channels // groups, "ALL": groups, "CHUNKS": cut.chunks, "GROUPS": cut.groups,
        "SIZE": cut.size, "BLOCKS": cut.blocks, "TURNS": cut.turns, "PIXELS": cut.pixels,
    }
    programs, options = rows * cut.blocks * cut.chunks, {"num_warps": 4}
    arguments = {
        "x_ptr": x, "parts_ptr": parts, "weight_ptr": weight, "bias_ptr": bias, "y_ptr": y, "eps": eps, **shape,
        "HELD": _power(cut.blocks), "IS_ACTIVATED": is_activated,
    }
    statistics = Launch(parts, statistics_kernel, programs, {"x_ptr": x, "parts_ptr": parts, **shape}, options)
    return statistics, Launch(y, normalise_kernel, programs, arguments, options)


groupnorm_silu_triton = torch_op(groupnorm_silu_reference, groupnorm_silu_launches)


def groupnorm_silu(
    x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float, is_activated: bool
) -> torch.Tensor:
    """Return silu(GN(x) weight + bias), see `_reference`: on a card by the kernels, where x is in channels_last.

    Raises:
        ValueError: groups do not divide C, weight or bias is not (C,), or the kernels cannot take a dtype or device.
    """
    if takes_kernel(x, weight, bias) and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return groupnorm_silu_triton(x, groups, weight, bias, eps, is_activated)
    return groupnorm_silu_reference(x, groups, weight, bias, eps, is_activated)


def _sizes(x: torch.Tensor, groups: int, weight: torch.Tensor, bias: torch.Tensor) -> tuple[int, ...]:
    rows, channels, height, width = checks.sizes(x=(x, "NCHW"), weight=(weight, "C"), bias=(bias, "C"))
    if groups < 1 or channels % groups:
        raise ValueError(f"groups must divide C = {channels}, got {groups}")
    return rows, channels, height, width


def _power(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(number - 1, 0).bit_length()
