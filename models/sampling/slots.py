"""Where the samples of a step stand side by side: fixed memory that a step reads, and the step itself.

`Slots.fill` brings the samples' latents and one small block of numbers to the device; `Slots.run` computes the step
from that memory alone, with shapes that depend on two counts. So the same `run` works eagerly on a processor and
captured on a card (models/sampling/graphs.py), where nothing between two steps waits for the host.

A sequence or a row beyond those filled computes on zeros, or on what an earlier step has left, and nobody reads its
output; no row reads another's, but for a guided sample's two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from dit_serve.kernels.sampler_step import COLUMNS, sampler_step
from dit_serve.models.device import plain_arithmetic
from dit_serve.models.dit import DiT
from dit_serve.models.options import MAX_BATCH_SEQUENCES
from dit_serve.models.sampling.conditioning import EMPTY_ROW, Conditioning
from dit_serve.models.sampling.guidance import Packing, pack
from dit_serve.models.sampling.sample import Sample

CAPACITY = MAX_BATCH_SEQUENCES


class Filled(NamedTuple):
    """What stands in the slots: N samples, their S sequences, and whether the step is to read their noise."""

    rows: int
    sequences: int
    is_noisy: bool


class Numbers:
    """The numbers of a step's rows in one block of bytes, so that one copy carries them all.

    Attributes:
        block: all bytes; the others are views of it.
        sample_of: (CAPACITY,) int64, the row whose latents a sequence has; CAPACITY is the empty one.
        null_rows: (CAPACITY,) int64, the sequence with a row's null-class output; its own where it is unguided.
        modulation_of: (CAPACITY,) int64, a sequence's row in the pool of modulations.
        coefficients: (CAPACITY, 10) float32, of the sampler's table.
        guidance_scale: (CAPACITY,) float32.
    """

    def __init__(self, device: torch.device, *, is_pinned: bool = False) -> None:
        integers, floats = 3 * 8 * CAPACITY, (len(COLUMNS) + 1) * 4 * CAPACITY
        self.block = torch.zeros(integers + floats, dtype=torch.uint8, device=device, pin_memory=is_pinned)
        self.sample_of, self.null_rows, self.modulation_of = self.block[:integers].view(torch.int64).view(3, CAPACITY)
        values = self.block[integers:].view(torch.float32)
        self.coefficients = values[: len(COLUMNS) * CAPACITY].view(CAPACITY, len(COLUMNS))
        self.guidance_scale = values[len(COLUMNS) * CAPACITY :]

    def write(self, samples: Sequence[Sample], packing: Packing, modulation_of: Sequence[int]) -> None:
        """Set all numbers, those of what fills up a batch too; on the host."""
        rows, sequences = len(samples), len(packing.sample_of)
        self.sample_of.fill_(CAPACITY)
        self.modulation_of.fill_(EMPTY_ROW)
        self.coefficients[rows:] = 0
        torch.arange(CAPACITY, out=self.null_rows, device="cpu")
        self.sample_of[:sequences] = _integers(packing.sample_of)
        self.modulation_of[:sequences] = _integers(modulation_of)
        self.null_rows[:rows] = _integers(packing.null_rows)
        scales = [sample.spec.guidance_scale for sample in samples]
        self.guidance_scale[:rows] = torch.tensor(scales, dtype=torch.float32, device="cpu")
        torch.stack([sample.table.coefficients[sample.i] for sample in samples], out=self.coefficients[:rows])


class Slots:
    """The memory of a step for one model, and the step.

    Args:
        model: the transformer; the slots are on its device.
        conditioning: its modulations.
        guidance_channels: how many leading channels are guided.
    """

    def __init__(self, model: DiT, conditioning: Conditioning, guidance_channels: int) -> None:
        self._model = model
        self._conditioning = conditioning
        self._guidance_channels = guidance_channels
        config, device = model.config, model.patch_embed.weight.device
        shape = (config.in_channels, config.input_size, config.input_size)
        self._latents = torch.zeros((CAPACITY + 1, *shape), dtype=torch.float32, device=device)  # the last: ever zero
        self._x0 = torch.zeros((CAPACITY, *shape), dtype=torch.float32, device=device)
        self._noise = torch.zeros((CAPACITY, *shape), dtype=torch.float32, device=device)
        self._numbers = Numbers(device)
        self._host_noise, self._host_numbers = self._noise, self._numbers
        self._uploaded: torch.cuda.Event | None = None
        if device.type != "cpu":
            is_pinned = device.type == "cuda"
            self._host_noise = torch.zeros_like(self._noise, device="cpu", pin_memory=is_pinned)
            self._host_numbers = Numbers(torch.device("cpu"), is_pinned=is_pinned)
            self._uploaded = torch.cuda.Event() if is_pinned else None  # type: ignore[no-untyped-call]

    def fill(self, samples: Sequence[Sample]) -> Filled:
        """Bring N samples that have at most CAPACITY sequences into the slots; they are only read."""
        specs = [sample.spec for sample in samples]
        null_class = self._model.config.num_classes
        packing = pack([spec.class_id for spec in specs], [spec.guidance_scale for spec in specs], null_class)
        walkers = [samples[i] for i in packing.sample_of]
        modulation_of = self._conditioning.rows(
            [(y, walker.table.timesteps, walker.i) for y, walker in zip(packing.classes, walkers, strict=True)]
        )
        noisy = [row for row, sample in enumerate(samples) if sample.table.is_noisy[sample.i]]
        if self._uploaded is not None:
            self._uploaded.synchronize()  # the host's block may still be on its way for the step before
        self._host_numbers.write(samples, packing, modulation_of)
        for row in noisy:
            self._host_noise[row].copy_(_noise_of(samples[row])[0])
        torch.cat([sample.latents for sample in samples], out=self._latents[: len(samples)])
        torch.cat([sample.x0 for sample in samples], out=self._x0[: len(samples)])
        self._upload(noisy[-1] + 1 if noisy else 0)
        # a kernel without noise is another kernel: on a card all steps take the one that graphs have captured
        return Filled(len(samples), len(packing.sample_of), bool(noisy) or self._noise.is_cuda)

    def run(self, rows: int, sequences: int, is_noisy: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (x', x0), each (rows, C, H, W) float32, of what stands in the slots.

        Args:
            rows: at least those filled, and at most `sequences`.
            sequences: at least those filled.
            is_noisy: whether the noise is read at all; a row that adds none is the same either way.
        """
        numbers = self._numbers
        x = self._latents.index_select(0, numbers.sample_of[:sequences])                      # (S, C, H, W)
        modulation_of, pool = numbers.modulation_of[:sequences], self._conditioning.pool
        with plain_arithmetic(x.device):
            if x.is_cuda:  # the kernels find each sequence's row in the pool
                out = self._model.denoise(x, pool, modulation_of)                             # (S, O, H, W)
            else:  # gathered once: every op would gather its own vectors
                out = self._model.denoise(x, pool.index_select(0, modulation_of))
        return sampler_step(
            self._latents[:rows],
            out,
            numbers.null_rows[:rows],
            numbers.guidance_scale[:rows],
            self._guidance_channels,
            numbers.coefficients[:rows],
            self._x0[:rows],
            self._noise[:rows] if is_noisy else None,
        )

    def _upload(self, noise_rows: int) -> None:
        """Copy the host's numbers, and so many rows of noise; nothing where the host's memory is the device's."""
        if self._host_numbers is self._numbers:
            return
        self._numbers.block.copy_(self._host_numbers.block, non_blocking=True)
        if noise_rows:
            self._noise[:noise_rows].copy_(self._host_noise[:noise_rows], non_blocking=True)
        if self._uploaded is not None:
            self._uploaded.record(torch.cuda.current_stream(self._noise.device))


def _noise_of(sample: Sample) -> torch.Tensor:
    """Return the noise of the sample's step under way (1, C, H, W), drawn once however often the step is tried."""
    if sample.noise is None:
        shape = sample.latents.shape
        sample.noise = torch.randn(shape, generator=sample.generator, dtype=torch.float32, device="cpu")
    return sample.noise


def _integers(numbers: Sequence[int]) -> torch.Tensor:
    """Return numbers as a tensor of the host, (len(numbers),) int64."""
    return torch.tensor(numbers, dtype=torch.int64, device="cpu")
