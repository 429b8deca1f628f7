"""The same image alone, beside others, captured and eager, and no image that has overflowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from dit_serve.models.device import one_thread
from dit_serve.models.sampling.decoding import SIZES, Decoder
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


class OneByOne(VAE):
    """An autoencoder whose images do not depend on each other, or lean by units in the last place of float32.

    Args:
        module: diffusers' autoencoder.
        leans: how many units, by the number of images and the place of one among them.
    """

    def __init__(self, module: AutoencoderKL, leans: Callable[[int, int], float] = lambda count, place: 0.0) -> None:
        super().__init__(module)
        self._leans = leans

    def images(self, latents: torch.Tensor) -> torch.Tensor:
        units = [self._leans(len(latents), place) for place in range(len(latents))]
        alone = [super(OneByOne, self).images(one[None]) for one in latents]
        return torch.cat([one + unit * 2.0**-23 * one.abs() for one, unit in zip(alone, units, strict=True)])


def captured(vae: VAE, card: SlowCard | None = None, *, is_invariant: bool = True) -> tuple[Decoder, SlowCard]:
    decoder, card = Decoder(vae, SHAPE, CPU, is_invariant=is_invariant), card or SlowCard()
    decoder.capture(card)
    return decoder, card


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


@pytest.mark.parametrize("count", [1, 3, 15, 17])
def test_a_captured_decoder_gives_the_same_images_and_keeps_them(tmp_path: Path, count: int) -> None:
    vae, finished = OneByOne(save_tiny_vae(tmp_path)), samples(count)
    expected = Decoder(vae, SHAPE, CPU, is_invariant=True)(finished)
    decoder, _ = captured(vae)
    images = decoder(finished)
    decoder(samples(9))
    assert np.array_equal(images, expected)


@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (7, [4, 2, 1]), (8, [8]), (21, [8, 8, 4, 1])])
def test_the_largest_batches_that_fit_are_taken(
    tmp_path: Path, count: int, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    vae, seen = OneByOne(save_tiny_vae(tmp_path)), []
    decoder, card = captured(vae)
    assert decoder.sizes == SIZES == (8, 4, 2, 1)
    images, before = vae.images, card.replays
    monkeypatch.setattr(vae, "images", lambda latents: seen.append(len(latents)) or images(latents))
    assert len(decoder(samples(count))) == count
    assert seen == batches
    assert card.replays - before == len(batches)


def test_nothing_captured_is_one_image_at_a_time(tmp_path: Path) -> None:
    assert Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=True).sizes == (1,)


@pytest.mark.parametrize(
    ("leans", "sizes"),
    [
        (lambda count, place: 0.0, (8, 4, 2, 1)),
        (lambda count, place: float(count == 4), (8, 2, 1)),
        (lambda count, place: float(count > 2), (2, 1)),
        (lambda count, place: float(place > 0), (1,)),
        (lambda count, place: float(count == 8 and place == 5), (4, 2, 1)),
        (lambda count, place: float("nan"), (1,)),
    ],
)
def test_a_number_of_images_that_changes_a_bit_of_one_is_left_out(
    tmp_path: Path, leans: Callable[[int, int], float], sizes: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    vae = OneByOne(save_tiny_vae(tmp_path), leans)
    with caplog.at_level("INFO", "dit.models"):
        assert captured(vae)[0].sizes == sizes
    told = [record.getMessage() for record in caplog.records]
    left_out = [size for size in (8, 4, 2) if size not in sizes]
    assert told == [f"{size} images are not decoded at once: it would change bits of an image" for size in left_out]
    assert captured(vae, is_invariant=False)[0].sizes == SIZES


def test_the_smallest_change_counts_though_no_pixel_shows_it(tmp_path: Path) -> None:
    module = save_tiny_vae(tmp_path)
    vae, exact = OneByOne(module, lambda count, place: float(count == 8)), OneByOne(module)
    draws = (torch.randn(8, *SHAPE) for _ in range(20))  # of one in twenty a pixel lies where it is rounded
    assert any(torch.equal(vae.render(latents)[0], exact.render(latents)[0]) for latents in draws)
    assert captured(vae)[0].sizes == (4, 2, 1)


@pytest.mark.parametrize(
    ("fails_at", "sizes", "lacking"),
    [((0,), (4, 2, 1), [8]), ((1, 2), (8, 1), [4, 2]), ((3,), (8, 4, 2, 1), [1]), ((0, 1, 2, 3), (1,), [8, 4, 2, 1])],
)
@pytest.mark.parametrize("is_invariant", [True, False])
def test_a_number_of_images_without_room_is_left_out_and_one_image_stays(
    tmp_path: Path, fails_at: tuple[int, ...], sizes: tuple[int, ...], lacking: list[int], is_invariant: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    vae, finished = OneByOne(save_tiny_vae(tmp_path)), samples(5)
    decoder, _ = captured(vae, SlowCard(fails_at=fails_at), is_invariant=is_invariant)
    assert decoder.sizes == sizes
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"no graph for the decoding of {size} images: no memory left" for size in lacking]
    assert np.array_equal(decoder(finished), Decoder(vae, SHAPE, CPU, is_invariant=is_invariant)(finished))


@pytest.mark.parametrize("is_invariant", [True, False])
def test_the_number_of_threads_is_as_before(tmp_path: Path, is_invariant: bool) -> None:
    before = torch.get_num_threads()
    Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=is_invariant)(samples(1))
    assert torch.get_num_threads() == before


def test_nothing_is_probed_where_nothing_could_be_captured(tmp_path: Path) -> None:
    def overflows(count: int, place: int) -> float:
        raise torch.OutOfMemoryError("no memory left")

    assert captured(OneByOne(save_tiny_vae(tmp_path), overflows), SlowCard(fails_at=(0, 1, 2, 3)))[0].sizes == (1,)


def test_an_image_that_overflows_is_made_again_in_float32(tmp_path: Path) -> None:
    vae, finished = tiny(tmp_path, torch.float16), [*samples(1), *samples(1, scale=1e6), *samples(1)]
    assert not vae.render(finished[1].latents)[1].item()
    images = Decoder(vae, SHAPE, CPU, is_invariant=True)(finished)
    with one_thread():  # as the decoder has it
        assert np.array_equal(images[0], vae.decode(finished[0].latents)[0].numpy())
        assert np.array_equal(images[1], vae.widened().decode(finished[1].latents)[0].numpy())


def test_an_image_that_overflows_in_a_batch_is_made_again_alone_and_harms_no_other(tmp_path: Path) -> None:
    save_tiny_vae(tmp_path)
    vae = OneByOne(load_vae(tmp_path, device=CPU, dtype=torch.float16).module)
    decoder, card = captured(vae)
    before = card.replays
    images = decoder([*(finished := samples(5)), overflows := sample_of(1e6 * torch.randn(1, *SHAPE)), *samples(2)])
    assert card.replays - before == 1
    with one_thread():  # as the decoder has it
        for image, sample in zip(images, finished, strict=False):
            assert np.array_equal(image, vae.decode(sample.latents)[0].numpy())
        assert np.array_equal(images[5], vae.widened().decode(overflows.latents)[0].numpy())


def test_an_image_that_overflows_float32_is_none(tmp_path: Path) -> None:
    decoder = Decoder(tiny(tmp_path), SHAPE, CPU, is_invariant=True)
    with pytest.raises(FloatingPointError, match="image is not finite: SampleSpec"):
        decoder([sample_of(torch.full((1, *SHAPE), 3e38))])


def test_latents_that_are_not_finite_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    decoder, card = captured(tiny(tmp_path))
    before = card.replays
    with pytest.raises(FloatingPointError, match="latents that are not finite"):
        decoder([*samples(1), sample_of(torch.full((1, *SHAPE), float("inf")))])
    assert card.replays == before
