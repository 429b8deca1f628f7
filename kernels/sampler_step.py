"""One update x_t -> x_{t-1} for rows that may all be at different steps of different samplers.

Every sampler here is linear in what the network said, so a step is ten numbers a row (see `COLUMNS`) and one formula:

    out    = out_null + s (out_y - out_null)                 on the guided channels; out_y on the others
    x0     = clamp(x0_x · x + x0_out · out, -clip, clip)
    x'     = x_x · x + x_out · out + x_x0 · x0 + x_prev · x0_prev + noise_scale · σ · noise

with σ between the bounds e^{min/2} and e^{max/2}, interpolated in log space by the network's second half (Improved
DDPM, arXiv 2102.09672, eq. 15). Guidance is that of arXiv 2207.12598, eq. 6, written for the null class.
"""

from __future__ import annotations

import torch

COLUMNS = (
    "x0_x", "x0_out", "clip", "x_x", "x_out", "x_x0", "x_prev", "noise_scale", "log_variance_min", "log_variance_max"
)


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


def sampler_step_reference(
    x: torch.Tensor,
    out: torch.Tensor,
    coefficients: torch.Tensor,
    x0_prev: torch.Tensor,
    noise: torch.Tensor | None,
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
        new = torch.where(noise_scale > 0, new + noise_scale * sigma * noise, new)  # a wild σ stays in its row
    return new, x0


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
    """Return (x', x0), each (N, C, H, W) float32: guidance, then the update; arguments as in the two references.

    Raises:
        ValueError: a shape does not fit x's (N, C, H, W), or coefficients are not (N, 10).
    """
    rows, channels = x.shape[:2]
    if out.shape[0] < rows or out.shape[1] not in (channels, 2 * channels) or out.shape[2:] != x.shape[2:]:
        raise ValueError(f"out must be (S >= {rows}, {channels} or {2 * channels}, H, W), got {tuple(out.shape)}")
    if coefficients.shape != (rows, len(COLUMNS)):
        raise ValueError(f"coefficients must be {(rows, len(COLUMNS))}, got {tuple(coefficients.shape)}")
    if not 0 <= guidance_channels <= channels:
        raise ValueError(f"guidance_channels must be 0 to {channels}, got {guidance_channels}")
    for name, value in (("x0_prev", x0_prev), ("noise", noise)):
        if value is not None and value.shape != x.shape:
            raise ValueError(f"{name} must have x's shape {tuple(x.shape)}, got {tuple(value.shape)}")
    guided = guide_reference(out, null_rows, guidance_scale, guidance_channels)
    return sampler_step_reference(x, guided, coefficients, x0_prev, noise)
