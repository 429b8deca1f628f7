"""Latents are the scaled means that the autoencoder gives, whether they are kept in memory or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dit_serve.models.training.latents import Augmentation, LatentSource
from dit_serve.models.vae import VAE, load_vae
from tests.models.tiny_vae import save_tiny_vae


class Stripes:
    """Six images that differ in where a white stripe stands."""

    names = ("left", "right")
    labels = torch.tensor([0, 0, 0, 1, 1, 1])

    def __len__(self) -> int:
        return 6

    def __init__(self) -> None:
        self.batches = 0

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        images = torch.full((len(rows), 3, 32, 32), -1.0)
        for image, row in zip(images, rows.tolist(), strict=True):
            image[:, :, 5 * row : 5 * row + 3] = 1.0
        return images


@pytest.fixture
def vae(tmp_path: Path) -> VAE:
    save_tiny_vae(tmp_path)
    return load_vae(tmp_path, device=torch.device("cpu"), dtype=torch.float32)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_draws_are_latents_of_the_images_with_their_labels(vae: VAE, cache_bytes: int) -> None:
    source = LatentSource(Stripes(), vae, Augmentation(), 1, cache_bytes)
    every = vae.encode(Stripes().batch(torch.arange(6)))
    latents, labels = source.draw(40, _generator())
    assert latents.shape == (40, 4, 4, 4)
    distances = (latents[:, None] - every[None]).flatten(2).norm(dim=2)
    assert distances.min(1).values.max() < 1e-4  # batches of another size round differently
    assert torch.equal(Stripes.labels[distances.argmin(1)], labels)
    assert len(distances.argmin(1).unique()) == 6


def test_cache_is_left_out_by_a_byte(vae: VAE) -> None:
    size = 3 * 6 * 4 * 4 * 4 * 4  # views, images, channels, side, side, bytes
    for cache_bytes, batches in ((size, 0), (size - 1, 1)):
        images = Stripes()
        source = LatentSource(images, vae, Augmentation(), 3, cache_bytes)
        before = images.batches
        source.draw(4, _generator())
        assert images.batches - before == batches


def test_kept_latents_are_read_and_not_computed_again(vae: VAE, tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "latents.safetensors"
    first, second = Stripes(), Stripes()
    written = LatentSource(first, vae, Augmentation(reach=1), 2, 1 << 20, kept)
    read = LatentSource(second, vae, Augmentation(reach=1), 2, 1 << 20, kept)
    assert (first.batches, second.batches) == (3, 1)  # one to learn the shape
    plain = LatentSource(Stripes(), vae, Augmentation(reach=1), 2, 1 << 20)
    for source in (read, plain):
        assert torch.equal(source.draw(20, _generator())[0], written.draw(20, _generator())[0])
    with pytest.raises(ValueError, match=r"does not hold latents of \(3, 6, 4, 4, 4\): remove it"):
        LatentSource(Stripes(), vae, Augmentation(), 3, 1 << 20, kept)


def test_views_are_augmented_versions(vae: VAE) -> None:
    plain = LatentSource(Stripes(), vae, Augmentation(), 5, 1 << 20)
    moved = LatentSource(Stripes(), vae, Augmentation(reach=2), 5, 1 << 20)
    assert len(plain.draw(200, _generator())[0].unique(dim=0)) == 6
    assert len(moved.draw(400, _generator())[0].unique(dim=0)) > 20


def test_same_generator_draws_the_same(vae: VAE) -> None:
    source = LatentSource(Stripes(), vae, Augmentation(flip=True, reach=1), 1, 0)
    for a, b in zip(source.draw(10, _generator(1)), source.draw(10, _generator(1)), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(source.draw(10, _generator(1))[0], source.draw(10, _generator(2))[0])


def test_flip_mirrors_the_image() -> None:
    images = Stripes().batch(torch.tensor([0] * 50))
    found = Augmentation(flip=True)(images, _generator())
    is_mirrored = (found[:, 0, 0, 31] == 1.0).tolist()
    assert 5 < sum(is_mirrored) < 45
    assert Augmentation()(images, _generator()) is images
