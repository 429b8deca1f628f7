"""One image: what it is asked to be, and how far it has come. State alone; knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from dit_serve.models.options import SampleSpec
from dit_serve.models.sampling.sampler import SamplerTable


@dataclass(slots=True)
class Sample:
    """One image on its way from noise: i of its steps are done.

    Attributes:
        spec: what was asked.
        table: the walk of its sampler.
        generator: its own source of noise, on the CPU, so that every device sees the same.
        latents: (1, C, H, W) float32, x_t.
        x0: (1, C, H, W) float32, the last step's guess of the image; zeros before the first.
        noise: (1, C, H, W) drawn for the step under way, so that a step which failed can be taken again as it was.
        i: steps done.
        ready: on a card, the moment when `latents` and `x0` are computed; work on another stream waits for it.
    """

    spec: SampleSpec
    table: SamplerTable
    generator: torch.Generator = field(repr=False)
    latents: torch.Tensor = field(repr=False)
    x0: torch.Tensor = field(repr=False)
    noise: torch.Tensor | None = field(default=None, repr=False)
    i: int = 0
    ready: torch.cuda.Event | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        """Steps in all."""
        return len(self.table)

    @property
    def is_done(self) -> bool:
        """Whether the latents are ready to decode."""
        return self.i == self.steps
