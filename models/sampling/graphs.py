"""Steps captured as CUDA graphs: one for each of a few numbers of sequences, replayed for any batch that fits.

A step of DiT-XL/2 is hundreds of launches, several times as long to enqueue as one image's is to compute; a graph is
one. Graphs have fixed shapes, so a batch takes the smallest bucket that holds it. With batch invariance the bucket
changes no bit of a sample: each linear layer goes a way that a trial found to give a row the same bits in every bucket
(models/trial.py), and every other op of the step works on one row or one sequence at a time; without, the BLAS may
choose its arithmetic by the bucket.

Buckets are captured from the largest to the smallest, so that all fit into the first one's scratch memory. How many
there are is decided before, from the memory that is left: see `affordable`. Knows no samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch

from dit_serve.models.errors import is_device_lost
from dit_serve.models.sampling.card import Card
from dit_serve.models.sampling.slots import CAPACITY, Filled, Slots

Stepped = tuple[torch.Tensor, torch.Tensor]  # x' and x0
BUCKETS = (1, 2, 4, 8, 16, 32, CAPACITY)
PROBED = 2  # sequences of the step whose memory is measured; it grows in proportion
LEAST = 2  # sequences that must fit, those of one guided sample
SPARE = 0.1  # of the memory left: new samples' tables on their way, previews, what libraries take later

_log = logging.getLogger("dit.models")


def affordable(free_bytes: int, sequence_bytes: int) -> tuple[int, ...]:
    """Return the buckets whose step fits into the memory that is left, at least those for one guided sample."""
    most = max(LEAST, int(free_bytes * (1 - SPARE)) // max(sequence_bytes, 1))
    return tuple(bucket for bucket in BUCKETS if bucket <= most)


class StepGraphs:
    """Runs the step of some slots: by a graph where one was captured, else eagerly.

    Args:
        slots: whose step.
        multiple: an eager step has a multiple of so many sequences, where there are no `shapes`.

    Attributes:
        shapes: the numbers of sequences that an eager step may have: those that the ways of its products were chosen
            for, which is done on a card alone.
        max_sequences: the most that a step may have, by the card's memory once it was measured.
    """

    def __init__(self, slots: Slots, multiple: int) -> None:
        self._slots = slots
        self._multiple = multiple
        self.shapes: tuple[int, ...] = ()
        self._replays: dict[int, Callable[[], Stepped]] = {}
        self.max_sequences = CAPACITY

    @property
    def buckets(self) -> tuple[int, ...]:
        """The numbers of sequences that there are graphs for."""
        return tuple(sorted(self._replays))

    def bucket_for(self, sequences: int) -> int | None:
        """Return the smallest bucket that holds so many sequences; None if there is none."""
        return min((bucket for bucket in self._replays if bucket >= sequences), default=None)

    def limit(self, shapes: tuple[int, ...]) -> None:
        """Say which numbers of sequences the ways of the products were chosen for; no step will have another."""
        self.shapes, self.max_sequences = shapes, max(shapes)

    def capture(self, card: Card, spared_bytes: int) -> None:
        """Measure what a step takes and capture which of `shapes` the card's memory has room for.

        A bucket whose capture fails is left out: its batches take the next larger one or, if that is missing too, are
        refused a place by `max_sequences`. With no bucket at all, steps are eager.

        Args:
            card: what captures.
            spared_bytes: of the free memory, what is to be left for others.

        Raises:
            RuntimeError: the device is lost.
        """
        sequence_bytes = card.peak_bytes(partial(self._slots.run, PROBED, PROBED)) // PROBED
        buckets = [b for b in affordable(card.free_bytes() - spared_bytes, sequence_bytes) if b in self.shapes]
        for bucket in reversed(buckets):
            try:
                self._replays[bucket] = card.capture(partial(self._slots.run, bucket, bucket))
            except RuntimeError as error:
                if is_device_lost(error):
                    raise
                _log.warning("no graph for %d sequences: %s", bucket, error)
        if not self._replays:
            _log.warning("no step is captured: each is hundreds of launches, which take longer than a few images need")
        self.max_sequences = max(LEAST, *(self.buckets or buckets))

    def run(self, filled: Filled) -> Stepped:
        """Return (x', x0), each (N, C, H, W) float32 in memory of their own, of the N samples in the slots."""
        bucket = self.bucket_for(filled.sequences)
        if bucket is None:
            whole = filled.sequences + -filled.sequences % self._multiple
            sequences = next((shape for shape in self.shapes if shape >= filled.sequences), whole)
            return self._slots.run(filled.rows, sequences, filled.is_noisy)
        new, x0 = self._replays[bucket]()
        return new[: filled.rows].clone(), x0[: filled.rows].clone()
