"""The hybrid loss against closed forms, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.training.losses import (
    NoiseTables,
    add_noise,
    gaussian_kl,
    gaussian_nll,
    hybrid_loss,
    hybrid_terms,
    min_snr_weight,
)

SCHEDULE = Schedule()
TABLES = NoiseTables.of(SCHEDULE, torch.float64)
SHAPE = (6, 4, 3, 3)
TIMES = torch.tensor([0, 1, 2, 400, 998, 999])


def _normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    x0, eps = _normal(*SHAPE, seed=0), _normal(*SHAPE, seed=1)
    output = _normal(SHAPE[0], 8, 3, 3, seed=2)
    return output, x0, add_noise(TABLES, x0, eps, TIMES), eps


def test_gaussian_kl_equals_torch_distributions() -> None:
    a, b, c, d = (_normal(50, seed=i) for i in range(4))
    expected = kl_divergence(Normal(a, (b / 2).exp()), Normal(c, (d / 2).exp()))
    torch.testing.assert_close(gaussian_kl(a, b, c, d), expected)


def test_gaussian_nll_equals_torch_distributions() -> None:
    x, mean, log_variance = (_normal(50, seed=i) for i in range(3))
    torch.testing.assert_close(gaussian_nll(x, mean, log_variance), -Normal(mean, (log_variance / 2).exp()).log_prob(x))


def test_noise_is_added_as_in_the_closed_form() -> None:
    x0, eps = _normal(*SHAPE, seed=0), _normal(*SHAPE, seed=1)
    bar = torch.from_numpy(SCHEDULE.alphas_cumprod)[TIMES].view(-1, 1, 1, 1)
    torch.testing.assert_close(add_noise(TABLES, x0, eps, TIMES), bar.sqrt() * x0 + (1 - bar).sqrt() * eps)


def test_tables_hold_the_posterior_of_two_gaussian_steps() -> None:
    # Bayes' rule by hand for q(x_{t-1} | x_t, x0): the product of N(x_{t-1}; sqrt(bar') x0, 1 - bar') and of
    # N(x_t; sqrt(alpha) x_{t-1}, beta) as a density of x_{t-1}
    for t in (1, 2, 500, 999):
        beta, before = SCHEDULE.betas[t], SCHEDULE.alphas_cumprod[t - 1]
        precision = 1 / (1 - before) + (1 - beta) / beta
        assert TABLES.log_posterior[t].exp().item() == pytest.approx(1 / precision, rel=1e-12)
        assert TABLES.mean_x0[t].item() == pytest.approx(math.sqrt(before) / (1 - before) / precision, rel=1e-9)
        assert TABLES.mean_x[t].item() == pytest.approx(math.sqrt(1 - beta) / beta / precision, rel=1e-9)
    assert TABLES.log_posterior[0] == TABLES.log_posterior[1]


def test_simple_term_is_the_mean_squared_error_of_each_row() -> None:
    output, x0, x, eps = _case()
    expected = torch.stack([(output[i, :4] - eps[i]).square().mean() for i in range(len(eps))])
    torch.testing.assert_close(hybrid_terms(TABLES, output, x0, x, eps, TIMES).simple, expected)


def test_vlb_term_is_the_divergence_of_the_reverse_step_in_bits() -> None:
    output, x0, x, eps = _case()
    bar = SCHEDULE.alphas_cumprod
    vlb = hybrid_terms(TABLES, output, x0, x, eps, TIMES).vlb
    for i, t in enumerate(TIMES.tolist()):
        if t == 0:
            continue
        beta, before = SCHEDULE.betas[t], bar[t - 1]
        variance = beta * (1 - before) / (1 - bar[t])
        guess = (x[i] - math.sqrt(1 - bar[t]) * output[i, :4]) / math.sqrt(bar[t])
        weights = math.sqrt(before) * beta / (1 - bar[t]), math.sqrt(1 - beta) * (1 - before) / (1 - bar[t])
        truth, mean = (weights[0] * origin + weights[1] * x[i] for origin in (x0[i], guess))
        share = (output[i, 4:] + 1) / 2
        log_variance = share * math.log(beta) + (1 - share) * math.log(variance)
        expected = kl_divergence(Normal(truth, math.sqrt(variance)), Normal(mean, (log_variance / 2).exp())).mean()
        assert vlb[i].item() == pytest.approx(expected.item() / math.log(2), rel=1e-8), f"t = {t}"


def test_first_timestep_is_scored_by_its_density() -> None:
    output, x0, x, eps = _case()
    beta = SCHEDULE.betas[0]
    mean = (x[0] - math.sqrt(beta) * output[0, :4]) / math.sqrt(1 - beta)  # x0 itself, as the network sees it
    share = (output[0, 4:] + 1) / 2
    log_variance = share * math.log(beta) + (1 - share) * TABLES.log_posterior[1]
    expected = -Normal(mean, (log_variance / 2).exp()).log_prob(x0[0]).mean() / math.log(2)
    assert hybrid_terms(TABLES, output, x0, x, eps, TIMES).vlb[0].item() == pytest.approx(expected.item(), rel=1e-8)


def test_vlb_term_is_zero_for_the_true_noise_and_the_posteriors_variance() -> None:
    _, x0, x, eps = _case()
    output = torch.cat([eps, torch.full_like(eps, -1.0)], dim=1)
    vlb = hybrid_terms(TABLES, output, x0, x, eps, TIMES).vlb
    torch.testing.assert_close(vlb[1:], torch.zeros(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_vlb_gradient_reaches_the_variance_alone_and_the_simple_gradient_the_noise_alone() -> None:
    output, x0, x, eps = _case()
    output.requires_grad_()
    terms = hybrid_terms(TABLES, output, x0, x, eps, TIMES)
    (of_vlb,) = torch.autograd.grad(terms.vlb.sum(), output, retain_graph=True)
    (of_simple,) = torch.autograd.grad(terms.simple.sum(), output)
    assert of_vlb[:, :4].abs().max() == 0
    assert of_vlb[:, 4:].abs().min() > 0
    assert of_simple[:, 4:].abs().max() == 0


def test_hybrid_loss_weighs_the_sum_over_timesteps_by_a_thousandth() -> None:
    output, x0, x, eps = _case()
    terms = hybrid_terms(TABLES, output, x0, x, eps, TIMES)
    expected = terms.simple.mean() + 0.001 * 1000 * terms.vlb.mean()
    torch.testing.assert_close(hybrid_loss(terms, 1000), expected)


def test_min_snr_weight_caps_the_weight_of_the_clean_images_error() -> None:
    # the noise's error times 1 / SNR is the image's error: weights count as SNR up to gamma, and as gamma beyond
    bar = torch.from_numpy(SCHEDULE.alphas_cumprod)[TIMES]
    snr = bar / (1 - bar)
    weight = min_snr_weight(TABLES, TIMES, 5.0)
    torch.testing.assert_close(weight * snr, torch.where(snr > 5.0, 5.0, snr))
    assert weight[0] < 0.001
    assert weight[-1] == 1.0
