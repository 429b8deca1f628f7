"""A row of D elements as two blocks, because a Triton block is a power of two and a DiT's width is not.

1152 = 1024 + 128, 384 = 256 + 128, 72 = 64 + 8: the largest power of two without a mask, and the rest in a masked block
of its own. One block of 2048 would leave 44 % of the lanes idle on DiT-XL/2's width. `normalise` is the layer norm that
two ops share. Nothing here knows tensors or launches.
"""

from __future__ import annotations

from dit_serve.kernels.launch import jit, tl

ELEMENTS_PER_WARP = 1280  # 40 float32 registers a lane: a row of 1152 stays in one warp and needs no barrier


def split(width: int, least: int = 1) -> tuple[int, int]:
    """Return powers of two (head, tail), each at least `least`, that hold a row of `width` >= 1; tail 0 if head does.

    The head is the largest power of two within the width (`least` where that is smaller).
    """
    head = max(1 << (width.bit_length() - 1), least)
    rest = max(width - head, 0)
    return head, max(1 << (rest - 1).bit_length(), least) if rest else 0


def warps_for(width: int) -> int:
    """Return how many warps hold a row of `width` in registers."""
    return 1 << max(0, -(-width // ELEMENTS_PER_WARP) - 1).bit_length()


@jit()
def load_tail(ptr, at, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the row's tail as float32, zeros beyond the width."""
    return tl.load(ptr + at, mask=at < WIDTH, other=0.0).to(tl.float32)


@jit()
def normalise(head, tail, tail_at, eps, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the normalised row, in its two blocks: the mean first, then the variance of the centred values.

    The one-pass E[x²] - E[x]² loses the variance of a row whose mean is large; two passes over registers cost little.
    """
    mean = (tl.sum(head) + tl.sum(tail)) / WIDTH
    head = head - mean
    tail = tl.where(tail_at < WIDTH, tail - mean, 0.0)
    variance = (tl.sum(head * head) + tl.sum(tail * tail)) / WIDTH
    rstd = tl.rsqrt(variance + eps)
    return head * rstd, tail * rstd
