"""One image at a time, the same image captured and eager, and no image that has overflowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve.models.sampling.decoding import Decoder
from dit_serve.models.sampling.sample import Sample, SampleSpec
from dit_serve.models.sampling.sampler import sampler_table
from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.vae import VAE, load_vae
from tests.models.sampling.slow_card import SlowCard
from tests.models.tiny_vae import save_tiny_vae

CPU = torch.device("cpu")
SHAPE = (4, 4, 4)


def tiny(folder: Path, dtype: torch.dtype = torch.float32) -> VAE:
    save_tiny_vae(folder)
    return load_vae(folder, device=CPU, dtype=dtype)


def sample_of(latents: torch.Tensor) -> Sample:
    table = sampler_table("ddim", Schedule(), 1, True)
    return Sample(SampleSpec(0, 0, steps=1), table, torch.Generator(), latents, latents, i=1)


def samples(count: int, scale: float = 1.0) -> list[Sample]:
    return [sample_of(scale * torch.randn(1, *SHAPE)) for _ in range(count)]


def test_images_are_those_of_the_autoencoder_one_by_one(tmp_path: Path) -> None:
    vae, finished = tiny(tmp_path), samples(3)
    images = Decoder(vae, SHAPE, CPU, is_invariant=True)(finished)
    assert len(images) == 3
    for image, sample in zip(images, finished, strict=True):
        assert np.array_equal(image, vae.decode(sample.latents)[0].numpy())


def test_no_samples_are_no_images(tmp_path: Path) -> None:
    assert Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=True)([]) == []


def test_a_captured_decoder_gives_the_same_images_and_keeps_them(tmp_path: Path) -> None:
    vae, finished, card = tiny(tmp_path), samples(4), SlowCard()
    expected = Decoder(vae, SHAPE, CPU, is_invariant=True)(finished)
    decoder = Decoder(vae, SHAPE, CPU, is_invariant=True)
    decoder.capture(card)
    images = decoder(finished)
    decoder(samples(2))
    assert np.array_equal(images, expected)
    assert card.replays == 6


@pytest.mark.parametrize("is_invariant", [True, False])
def test_the_number_of_threads_is_as_before(tmp_path: Path, is_invariant: bool) -> None:
    before = torch.get_num_threads()
    Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=is_invariant)(samples(1))
    assert torch.get_num_threads() == before


def test_an_image_that_overflows_is_made_again_in_float32(tmp_path: Path) -> None:
    vae, finished = tiny(tmp_path, torch.float16), [*samples(1), *samples(1, scale=1e6), *samples(1)]
    assert not vae.render(finished[1].latents)[1].item()
    images = Decoder(vae, SHAPE, CPU, is_invariant=True)(finished)
    assert np.array_equal(images[0], vae.decode(finished[0].latents)[0].numpy())
    assert np.array_equal(images[1], vae.widened().decode(finished[1].latents)[0].numpy())


def test_an_image_that_overflows_float32_is_none(tmp_path: Path) -> None:
    decoder = Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=True)
    with pytest.raises(FloatingPointError, match="image is not finite: SampleSpec"):
        decoder([sample_of(torch.full((1, *SHAPE), 3e38))])


def test_latents_that_are_not_finite_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    decoder, card = Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=True), SlowCard()
    decoder.capture(card)
    with pytest.raises(FloatingPointError, match="latents that are not finite"):
        decoder([*samples(1), sample_of(torch.full((1, *SHAPE), float("inf")))])
    assert card.replays == 0
