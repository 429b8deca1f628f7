"""Classifier-free guidance as packing: which sequences one forward pass needs for a batch of samples.

A guided sample costs two sequences, its own class and the null class; an unguided one (scale 1) costs one. The
combination eps = eps_null + s (eps_y - eps_null) itself is part of the update (kernels/sampler_step.py).
"Classifier-Free Diffusion Guidance", arXiv 2207.12598; the null class has index num_classes ("Scalable Diffusion
Models with Transformers", section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def is_guided(guidance_scale: float) -> bool:
    """Return whether a sample of this scale needs the null class: at 1 the conditional output alone is the answer."""
    return guidance_scale != 1.0


@dataclass(frozen=True, slots=True)
class Packing:
    """The S sequences of a forward pass over N samples: first one each with its own class, then the null ones.

    Attributes:
        sample_of: (S) the sample that each sequence belongs to.
        classes: (S) the class id of each sequence.
        null_rows: (N) the sequence with each sample's null-class output; its own where it is unguided.
    """

    sample_of: tuple[int, ...]
    classes: tuple[int, ...]
    null_rows: tuple[int, ...]


def pack(class_ids: Sequence[int], guidance_scales: Sequence[float], null_class: int) -> Packing:
    """Return the sequences that samples of these classes and scales need."""
    rows = range(len(class_ids))
    guided = [row for row in rows if is_guided(guidance_scales[row])]
    null_row = {row: len(class_ids) + place for place, row in enumerate(guided)}
    return Packing(
        sample_of=(*rows, *guided),
        classes=(*class_ids, *[null_class] * len(guided)),
        null_rows=tuple(null_row.get(row, row) for row in rows),
    )
