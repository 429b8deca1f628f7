"""One update x_t -> x_{t-1} for rows that may all be at different steps of different samplers.

Every sampler is linear in the network's output, so a step is ten coefficients a row (see `COLUMNS`) and one formula:

    out    = out_null + s (out_y - out_null)                 on the guided channels; out_y on the others
    x0     = clamp(x0_x · x + x0_out · out, -clip, clip)
    x'     = x_x · x + x_out · out + x_x0 · x0 + x_prev · x0_prev + noise_scale · σ · noise

with σ between the bounds e^{min/2} and e^{max/2}, interpolated in log space by the network's second half (Improved
DDPM, arXiv 2102.09672, eq. 15). Guidance is that of arXiv 2207.12598, eq. 6, written for the null class.
"""

from __future__ import annotations

import torch

from dit_serve.kernels import checks
from dit_serve.kernels.launch import Launch, jit, takes_kernel, tl, torch_op

COLUMNS = (
    "x0_x", "x0_out", "clip", "x_x", "x_out", "x_x0", "x_prev", "noise_scale", "log_variance_min", "log_variance_max"
)
BLOCK = 512  # elements of the latent per program: small, so that one image of DiT-XL/2 (4096) is spread over eight


def guide_reference(
    out: torch.Tensor, null_rows: torch.Tensor, guidance_scale: torch.Tensor, guidance_channels: int
) -> torch.Tensor:
    """Return the guided output of N rows, (N, O, H, W), from S >= N sequences.

    Args:
        out: (S, O, H, W), the network's output; the first N sequences are the rows with their own class.
        null_rows: (N,) int64, the sequence that holds the row's null-class output; the row itself where it is unguided.
        guidance_scale: (N,) s; without effect on an unguided row.
        guidance_channels: how many leading channels are guided; the others keep the row's own output.
    """
    rows = null_rows.shape[0]
    own, null = out[:rows, :guidance_channels], out[null_rows, :guidance_channels]
    guided = null + guidance_scale.view(-1, 1, 1, 1) * (own - null)
    return torch.cat([guided, out[:rows, guidance_channels:]], dim=1)


def update_reference(
    x: torch.Tensor, out: torch.Tensor, coefficients: torch.Tensor, x0_prev: torch.Tensor, noise: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x', x0), each (N, C, H, W) float32.

    Args:
        x: (N, C, H, W) float32 latents.
        out: (N, C or 2C, H, W), the guided output; a second half of channels interpolates the variance.
        coefficients: (N, 10), the row of each sample's table, in the order of COLUMNS.
        x0_prev: (N, C, H, W), the x0 of each sample's previous step (zeros before the first).
        noise: (N, C, H, W) standard normal, or None where no row has a noise_scale.
    """
    channels = x.shape[1]
    x0_x, x0_out, clip, x_x, x_out, x_x0, x_prev, noise_scale, low, high = coefficients.view(-1, 10, 1, 1, 1).unbind(1)
    predicted = out[:, :channels]
    x0 = torch.clamp(x0_x * x + x0_out * predicted, -clip, clip)
    new = x_x * x + x_out * predicted + x_x0 * x0 + x_prev * x0_prev
    if noise is not None:
        share = (out[:, channels:] + 1) / 2 if out.shape[1] > channels else torch.ones_like(x)
        sigma = torch.exp(0.5 * (share * high + (1 - share) * low))
        new = torch.where(noise_scale > 0, new + noise_scale * sigma * noise, new)  # 0 · inf is NaN
    return new, x0


def sampler_step_reference(
    x: torch.Tensor,
    out: torch.Tensor,
    null_rows: torch.Tensor,
    guidance_scale: torch.Tensor,
    guidance_channels: int,
    coefficients: torch.Tensor,
    x0_prev: torch.Tensor,
    noise: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x', x0), each (N, C, H, W) float32: guidance, then the update, whose references name the arguments."""
    _check_shapes(x, out, null_rows, guidance_scale, guidance_channels, coefficients, x0_prev, noise)
    guided = guide_reference(out, null_rows, guidance_scale, guidance_channels)
    return update_reference(x, guided, coefficients, x0_prev, noise)


@jit()
def sampler_step_kernel(  # type: ignore[no-untyped-def]
    x_ptr,  # (N, C, H, W) float32
    out_ptr,  # (S, O, H, W)
    null_rows_ptr,  # (N,) int64
    guidance_scale_ptr,  # (N,) float32
    coefficients_ptr,  # (N, 10) float32
    x0_prev_ptr,  # (N, C, H, W) float32
    noise_ptr,  # (N, C, H, W) float32, or None
    new_ptr,  # (N, C, H, W) float32
    x0_ptr,  # (N, C, H, W) float32
    SIZE: tl.constexpr,  # C·H·W
    OUT_SIZE: tl.constexpr,  # O·H·W
    GUIDED_SIZE: tl.constexpr,  # guidance_channels·H·W: the guided channels lead
    BLOCK: tl.constexpr,
):
    """One program updates BLOCK elements of one row, with that row's ten coefficients."""
    BLOCKS: tl.constexpr = (SIZE + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // BLOCKS).to(tl.int64)
    at = (tl.program_id(0) % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
    inside = at < SIZE
    c_ptr = coefficients_ptr + row * 10

    x = tl.load(x_ptr + row * SIZE + at, mask=inside)
    out = tl.load(out_ptr + row * OUT_SIZE + at, mask=inside).to(tl.float32)
    null_row = tl.load(null_rows_ptr + row)
    null = tl.load(out_ptr + null_row * OUT_SIZE + at, mask=inside).to(tl.float32)
    out = tl.where(at < GUIDED_SIZE, null + tl.load(guidance_scale_ptr + row) * (out - null), out)

    clip = tl.load(c_ptr + 2)
    x0 = tl.load(c_ptr) * x + tl.load(c_ptr + 1) * out
    x0 = tl.clamp(x0, -clip, clip, propagate_nan=tl.PropagateNan.ALL)
    new = tl.load(c_ptr + 3) * x + tl.load(c_ptr + 4) * out + tl.load(c_ptr + 5) * x0
    new += tl.load(c_ptr + 6) * tl.load(x0_prev_ptr + row * SIZE + at, mask=inside)
    if noise_ptr is not None:
        noise_scale = tl.load(c_ptr + 7)
        low = tl.load(c_ptr + 8)
        high = tl.load(c_ptr + 9)
        sigma = tl.exp(0.5 * high)
        if OUT_SIZE > SIZE:
            share = (tl.load(out_ptr + row * OUT_SIZE + SIZE + at, mask=inside).to(tl.float32) + 1.0) * 0.5
            sigma = tl.exp(0.5 * (share * high + (1.0 - share) * low))
        noisy = new + noise_scale * sigma * tl.load(noise_ptr + row * SIZE + at, mask=inside)
        new = tl.where(noise_scale > 0, noisy, new)
    tl.store(new_ptr + row * SIZE + at, new, mask=inside)
    tl.store(x0_ptr + row * SIZE + at, x0, mask=inside)


def sampler_step_launch(
    x: torch.Tensor,
    out: torch.Tensor,
    null_rows: torch.Tensor,
    guidance_scale: torch.Tensor,
    guidance_channels: int,
    coefficients: torch.Tensor,
    x0_prev: torch.Tensor,
    noise: torch.Tensor | None,
) -> Launch:
    """Return the launch for contiguous tensors; null_rows, not read back to be checked, must hold rows of out.

    null_rows is int64; out is float32, bfloat16 or float16; the others are float32.
    """
    _check_shapes(x, out, null_rows, guidance_scale, guidance_channels, coefficients, x0_prev, noise)
    floats = {"x": x, "guidance_scale": guidance_scale, "coefficients": coefficients, "x0_prev": x0_prev}
    floats |= {} if noise is None else {"noise": noise}
    checks.device(**floats, out=out, null_rows=null_rows)
    checks.dtype(torch.float32, **floats)
    checks.dtype(torch.int64, null_rows=null_rows)
    checks.floating(out=out)
    checks.contiguous(**floats, out=out, null_rows=null_rows)
    new, x0 = torch.empty_like(x), torch.empty_like(x)
    rows, channels, height, width = x.shape
    size = channels * height * width
    arguments = {
        "x_ptr": x, "out_ptr": out, "null_rows_ptr": null_rows, "guidance_scale_ptr": guidance_scale,
        "coefficients_ptr": coefficients, "x0_prev_ptr": x0_prev, "noise_ptr": noise, "new_ptr": new, "x0_ptr": x0,
        "SIZE": size, "OUT_SIZE": out.shape[1] * height * width, "GUIDED_SIZE": guidance_channels * height * width,
        "BLOCK": BLOCK,
    }
    return Launch((new, x0), sampler_step_kernel, rows * -(-size // BLOCK), arguments, {"num_warps": 4})


sampler_step_triton = torch_op(sampler_step_reference, sampler_step_launch)


def sampler_step(
    x: torch.Tensor,
    out: torch.Tensor,
    null_rows: torch.Tensor,
    guidance_scale: torch.Tensor,
    guidance_channels: int,
    coefficients: torch.Tensor,
    x0_prev: torch.Tensor,
    noise: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (x', x0), each (N, C, H, W) float32; see `sampler_step_reference`, on a card also `sampler_step_launch`.

    Raises:
        ValueError: a shape does not fit x's (N, C, H, W), coefficients are not (N, 10), or the kernel cannot take a
            dtype, device or stride.
    """
    if takes_kernel(x, out, guidance_scale, coefficients, x0_prev, noise):
        op = sampler_step_triton
    else:
        op = sampler_step_reference
    return op(x, out, null_rows, guidance_scale, guidance_channels, coefficients, x0_prev, noise)


def _check_shapes(
    x: torch.Tensor,
    out: torch.Tensor,
    null_rows: torch.Tensor,
    guidance_scale: torch.Tensor,
    guidance_channels: int,
    coefficients: torch.Tensor,
    x0_prev: torch.Tensor,
    noise: torch.Tensor | None,
) -> None:
    latents = {"x": x, "x0_prev": x0_prev} | ({} if noise is None else {"noise": noise})
    shapes = {name: (value, "NCHW") for name, value in latents.items()}
    rows, channels, *sides = checks.sizes(**shapes, null_rows=(null_rows, "N"), guidance_scale=(guidance_scale, "N"))
    if out.shape[0] < rows or out.shape[1] not in (channels, 2 * channels) or out.shape[2:] != tuple(sides):
        raise ValueError(f"out must be (S >= {rows}, {channels} or {2 * channels}, H, W), got {tuple(out.shape)}")
    if coefficients.shape != (rows, len(COLUMNS)):
        raise ValueError(f"coefficients must be {(rows, len(COLUMNS))}, got {tuple(coefficients.shape)}")
    if not 0 <= guidance_channels <= channels:
        raise ValueError(f"guidance_channels must be 0 to {channels}, got {guidance_channels}")
