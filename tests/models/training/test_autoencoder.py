"""An autoencoder learns, is written as diffusers reads it, and gives latents of the deviation asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file
from torch.distributions import Normal, kl_divergence

from dit_serve.models.training import autoencoder
from dit_serve.models.training.autoencoder import (
    AutoencoderConfig,
    AutoencoderTrainer,
    encode_some,
    negative_elbo,
    train_autoencoder,
)
from dit_serve.models.training.datasets import open_dataset
from dit_serve.models.vae import load_vae
from tests.models.tiny_vae import save_tiny_vae


@pytest.fixture
def config(tmp_path: Path) -> AutoencoderConfig:
    """A short run on eight grey pictures."""
    (tmp_path / "data" / "grey").mkdir(parents=True)
    for i in range(8):
        Image.new("RGB", (16, 16), (30 * i,) * 3).save(tmp_path / "data" / "grey" / f"{i}.png")
    return AutoencoderConfig(
        out=tmp_path / "out",
        data=str(tmp_path / "data"),
        resolution=16,
        channels=(4, 4, 4, 4),
        steps=3,
        batch_size=4,
        reach=0,
    )


@pytest.fixture(autouse=True)
def _own_randomness() -> Iterator[None]:
    """Puts the global generator back: a run seeds it for the network's first weights."""
    with torch.random.fork_rng():
        yield


def _error(config: AutoencoderConfig) -> float:
    """The squared error of what comes back, in pixels of -1 to 1."""
    vae = load_vae(config.out, device=torch.device("cpu"), dtype=torch.float32)
    images = open_dataset(config.data, config.resolution).batch(torch.arange(8))
    restored = vae.decode(vae.encode(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    return float((restored - images).square().mean())


def test_training_lowers_the_error(config: AutoencoderConfig) -> None:
    train_autoencoder(config)
    before = _error(config)
    train_autoencoder(replace(config, steps=120))
    assert _error(config) < 0.8 * before


def test_seed_decides_the_run(config: AutoencoderConfig, tmp_path: Path) -> None:
    runs = [replace(config, out=tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    a, b, c = ((train_autoencoder(run) / "diffusion_pytorch_model.safetensors").read_bytes() for run in runs)
    assert a == b
    assert a != c


@pytest.mark.parametrize("latent_std", [1.0, 0.5])
def test_scaling_factor_gives_the_latents_their_deviation(config: AutoencoderConfig, latent_std: float) -> None:
    train_autoencoder(replace(config, latent_std=latent_std))
    vae = load_vae(config.out, device=torch.device("cpu"), dtype=torch.float32)
    latents = vae.encode(open_dataset(config.data, 16).batch(torch.arange(8)))
    assert latents.std().item() == pytest.approx(latent_std, rel=1e-4)
    assert (vae.latent_channels, vae.downsampling) == (4, 8)


def test_run_starts_from_another_autoencoder(config: AutoencoderConfig, tmp_path: Path) -> None:
    module = save_tiny_vae(tmp_path / "first")
    train_autoencoder(replace(config, initial=tmp_path / "first", steps=1, learning_rate=0.0))
    found = AutoencoderKL.from_pretrained(config.out, low_cpu_mem_usage=False)
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, module.state_dict()[name]), name
    assert found.config["sample_size"] == 16


def test_negative_elbo_is_the_squared_error_and_the_divergence_from_the_unit_normal(tmp_path: Path) -> None:
    module = save_tiny_vae(tmp_path)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    error, nats = negative_elbo(module, images, torch.Generator().manual_seed(0))
    posterior = module.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(0))
    restored = module.decode(posterior.mean + posterior.std * noise).sample
    torch.testing.assert_close(error, (restored - images).square().mean())
    expected = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0)).sum() / 2
    torch.testing.assert_close(nats, expected)


def test_encode_some_is_the_mean_of_images_that_are_evenly_spaced(
    config: AutoencoderConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = save_tiny_vae(tmp_path / "vae")
    dataset = open_dataset(config.data, 16)
    expected = module.encode(dataset.batch(torch.tensor([5]))).latent_dist.mean[0]
    torch.testing.assert_close(encode_some(module, dataset)[5], expected, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(autoencoder, "MEASURED", 3)
    spaced = module.encode(dataset.batch(torch.tensor([0, 2, 5]))).latent_dist.mean
    torch.testing.assert_close(encode_some(module, dataset), spaced, atol=1e-5, rtol=1e-5)


def test_weights_are_written_in_the_format_asked_for(config: AutoencoderConfig, tmp_path: Path) -> None:
    wide = train_autoencoder(config)
    narrow = train_autoencoder(replace(config, out=tmp_path / "half", stored="float16"))
    file = "diffusion_pytorch_model.safetensors"
    found, expected = load_file(narrow / file), load_file(wide / file)
    assert all(torch.equal(tensor, expected[name].half()) for name, tensor in found.items())
    assert len(found) == len(expected)


@pytest.mark.parametrize("field", ["precision", "stored"])
def test_formats_that_there_are_not_are_refused(config: AutoencoderConfig, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be .*float32.*, got 'int8'"):
        replace(config, **{field: "int8"})


def test_bfloat16_arithmetic_learns_and_keeps_float32_weights(config: AutoencoderConfig) -> None:
    trainer = AutoencoderTrainer(replace(config, precision="bfloat16", steps=100))
    errors = [trainer.train_step()[0] for _ in range(100)]
    assert sum(errors[-10:]) < 0.8 * sum(errors[:10])
    assert {tensor.dtype for tensor in trainer.vae.state_dict().values()} == {torch.float32}


def test_resumed_run_ends_in_the_same_bits(config: AutoencoderConfig, tmp_path: Path) -> None:
    config = replace(config, reach=1)
    first = AutoencoderTrainer(replace(config, out=tmp_path / "halves"))
    first.train_step()
    first.save()
    train_autoencoder(first.config)
    train_autoencoder(config)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        assert (first.config.out / name).read_bytes() == (config.out / name).read_bytes()


def test_resume_refuses_another_architecture(config: AutoencoderConfig) -> None:
    train_autoencoder(config)
    with pytest.raises(ValueError, match=r"another architecture.*remove it"):
        train_autoencoder(replace(config, channels=(4, 4, 4, 8)))
