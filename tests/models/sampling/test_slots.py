"""What stands in the slots when a step is computed: the samples, and zeros in what fills up the shape."""

from __future__ import annotations

import pytest
import torch

from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.sampling.conditioning import Conditioning
from dit_serve.models.sampling.sample import Sample, SampleSpec
from dit_serve.models.sampling.sampler import sampler_table
from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.sampling.slots import CAPACITY, Slots

CONFIG = DiTConfig(input_size=8, hidden_size=48, depth=2, num_heads=4, num_classes=10)


class Watched(DiT):
    """Keeps what it was last given to denoise."""

    def denoise(self, x: torch.Tensor, modulations: torch.Tensor) -> torch.Tensor:
        self.seen = x.clone(), modulations.clone()
        return super().denoise(x, modulations)


@pytest.fixture
def model() -> Watched:
    model = Watched(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def begun(spec: SampleSpec) -> Sample:
    generator = torch.Generator().manual_seed(spec.seed)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    table = sampler_table(spec.sampler, Schedule(), spec.steps, True)
    return Sample(spec, table, generator, latents, torch.zeros_like(latents))


def test_a_batch_is_filled_up_with_zeros_whatever_was_there_before(model: Watched) -> None:
    slots = Slots(model, Conditioning(model, 1 << 20, CAPACITY, is_ahead=False), 4)
    slots.fill([begun(SampleSpec(i % 10, i)) for i in range(CAPACITY // 2)])
    slots.run(CAPACITY, CAPACITY)
    samples = [begun(SampleSpec(1, 1)), begun(SampleSpec(2, 2, guidance_scale=1.0))]
    filled = slots.fill(samples)
    slots.run(8, 8)
    x, modulations = model.seen
    assert (filled.rows, filled.sequences, filled.is_noisy) == (2, 3, False)
    assert torch.equal(x[:3], torch.cat([samples[0].latents, samples[1].latents, samples[0].latents]))
    assert not x[3:].any()
    assert modulations[:3].any(dim=(1, 2)).all()
    assert not modulations[3:].any()


def test_filling_reads_the_samples_and_draws_their_noise_once(model: Watched) -> None:
    slots = Slots(model, Conditioning(model, 1 << 20, CAPACITY, is_ahead=False), 4)
    sample = begun(SampleSpec(1, 1, sampler="ddpm"))
    latents = sample.latents.clone()
    assert slots.fill([sample]).is_noisy
    noise, state = sample.noise, sample.generator.get_state()
    slots.fill([sample])
    assert sample.noise is noise
    assert torch.equal(sample.generator.get_state(), state)
    assert torch.equal(sample.latents, latents)


def test_rows_that_fill_up_the_shape_change_no_bit(model: Watched) -> None:
    slots = Slots(model, Conditioning(model, 1 << 20, CAPACITY, is_ahead=False), 3)
    samples = [begun(SampleSpec(i, i, guidance_scale=(1.0, 2.0)[i % 2], sampler="ddpm")) for i in range(4)]
    filled = slots.fill(samples)
    exact = slots.run(*filled)
    for size in (8, 16, CAPACITY):
        for one, other in zip(exact, slots.run(size, size), strict=True):
            assert torch.equal(one, other[: filled.rows])
