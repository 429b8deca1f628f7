"""The training loss of a DiT: noise regression, and a variational bound that teaches the variance alone.

The hybrid loss of "Improved Denoising Diffusion Probabilistic Models" (arXiv 2102.09672, eq. 16), L_simple + 0.001
L_vlb, where the bound's gradient is stopped at the mean. The network's second half of channels, v, interpolates the
log-variance between the posterior's and beta's (eq. 15); v = -1 is the posterior's and v = 1 is beta's, as in the
published checkpoints.

Knows schedules and tensors, no network and no data. Shapes: N rows, C channels, H W latent side, S training steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from dit_serve.models.sampling.schedule import Schedule

VLB_WEIGHT = 0.001  # Improved DDPM, section 3.1
LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, slots=True)
class NoiseTables:
    """What a schedule says at each timestep, float32 (S,) each, computed in float64."""

    signal: torch.Tensor  # sqrt(alphas_cumprod): the share of x0 in x
    noise: torch.Tensor  # sqrt(1 - alphas_cumprod): the share of eps in x
    mean_x0: torch.Tensor  # the posterior's mean is mean_x0 * x0 + mean_x * x (DDPM, eq. 7)
    mean_x: torch.Tensor
    log_beta: torch.Tensor  # the upper bound of the log-variance
    log_posterior: torch.Tensor  # the lower bound; at t = 0, where it is minus infinity, the value of t = 1

    @classmethod
    def of(cls, schedule: Schedule, dtype: torch.dtype = torch.float32) -> NoiseTables:
        betas, bar = schedule.betas, schedule.alphas_cumprod
        before = np.concatenate([[1.0], bar[:-1]])
        posterior = betas * (1.0 - before) / (1.0 - bar)  # DDPM, eq. 7
        posterior[0] = posterior[1] if len(posterior) > 1 else betas[0]
        columns = (
            np.sqrt(bar),
            np.sqrt(1.0 - bar),
            np.sqrt(before) * betas / (1.0 - bar),
            np.sqrt(1.0 - betas) * (1.0 - before) / (1.0 - bar),
            np.log(betas),
            np.log(posterior),
        )
        return cls(*(torch.from_numpy(column).to(dtype) for column in columns))


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The two terms of the hybrid loss for each row, (N,) each."""

    simple: torch.Tensor  # mean squared error of the noise
    vlb: torch.Tensor  # this timestep's term of the bound, bits per latent value; its gradient reaches v alone


def add_noise(tables: NoiseTables, x0: torch.Tensor, eps: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """x at timesteps t: (N, C, H, W) from x0, eps (N, C, H, W) and t (N,) (DDPM, eq. 4)."""
    return _rows(tables.signal, t) * x0 + _rows(tables.noise, t) * eps


def hybrid_terms(
    tables: NoiseTables, output: torch.Tensor, x0: torch.Tensor, x: torch.Tensor, eps: torch.Tensor, t: torch.Tensor
) -> LossTerms:
    """Both terms for a network that predicts (eps, v).

    Args:
        output: (N, 2C, H, W), the network's output for x and t.
        x0, x, eps: (N, C, H, W), the latent, the noisy latent and the noise in it.
        t: (N,) int64.
    """
    predicted, v = output.chunk(2, dim=1)
    simple = (predicted - eps).square().flatten(1).mean(1)
    x0_predicted = (x - _rows(tables.noise, t) * predicted.detach()) / _rows(tables.signal, t)
    mean = _posterior_mean(tables, x0_predicted, x, t)
    low, high = _rows(tables.log_posterior, t), _rows(tables.log_beta, t)
    log_variance = low + (v + 1.0) / 2.0 * (high - low)  # Improved DDPM, eq. 15
    nats = torch.where(
        (t == 0).view(-1, 1, 1, 1),
        gaussian_nll(x0, mean, log_variance),  # latents are continuous: the density, not a bin's probability
        gaussian_kl(_posterior_mean(tables, x0, x, t), low, mean, log_variance),
    )
    return LossTerms(simple, nats.flatten(1).mean(1) / math.log(2.0))


def hybrid_loss(terms: LossTerms, num_train_timesteps: int) -> torch.Tensor:
    """L_simple + 0.001 L_vlb, a scalar; L_vlb is the sum over all timesteps, estimated from those drawn."""
    return (terms.simple + VLB_WEIGHT * num_train_timesteps * terms.vlb).mean()


def min_snr_weight(tables: NoiseTables, t: torch.Tensor, gamma: float) -> torch.Tensor:
    """The weight min(SNR, gamma) / SNR of the noise's squared error at timesteps t, (N,).

    "Efficient Diffusion Training via Min-SNR Weighting Strategy" (arXiv 2303.09556), section 3.4: the nearly clean
    timesteps, where noise hides in the picture's detail, do not drown those where the picture's shape is decided.
    """
    snr = (tables.signal[t] / tables.noise[t]).square()
    return snr.clamp(max=gamma) / snr


def gaussian_kl(
    mean: torch.Tensor, log_variance: torch.Tensor, other_mean: torch.Tensor, other_log_variance: torch.Tensor
) -> torch.Tensor:
    """KL(N(mean, variance) || N(other)) in nats, elementwise."""
    ratio = (log_variance - other_log_variance).exp()
    distance = (mean - other_mean).square() * (-other_log_variance).exp()
    return 0.5 * (ratio + distance - 1.0 + other_log_variance - log_variance)


def gaussian_nll(x: torch.Tensor, mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """-log N(x; mean, variance) in nats, elementwise."""
    return 0.5 * (LOG_TWO_PI + log_variance + (x - mean).square() * (-log_variance).exp())


def _posterior_mean(tables: NoiseTables, x0: torch.Tensor, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Mean of q(x_{t-1} | x_t, x0): (N, C, H, W)."""
    return _rows(tables.mean_x0, t) * x0 + _rows(tables.mean_x, t) * x


def _rows(table: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """One entry of a table per row, shaped to multiply (N, C, H, W)."""
    return table[t].view(-1, 1, 1, 1)
