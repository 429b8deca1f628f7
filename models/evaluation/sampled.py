"""Images that a model makes to be measured: classes in turn, seeds one after another, so that a run can be repeated.

Image i is of class i mod K with the seed `seed + i`. Classes are as balanced as the number of images allows, which
lowers FID a little against classes drawn at random, and no seed is used twice.

Knows no network that measures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import torch

from dit_serve.models.checks import check_spec
from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.options import Sampling
from dit_serve.models.options import ModelOptions, SampleSpec, split_name
from dit_serve.models.pipeline import Pipeline, load_pipeline

_AT_ONCE = 64  # two batches of guided images: one is decoded beside the other's steps


class ModelImages:
    """The images that a model makes.

    Args:
        model: demo name, folder, file or hub id, or NAME=CHECKPOINT.
        sampling: how.
        options: how it is loaded and run.

    Raises:
        CheckpointError: the model cannot be loaded.
        EvaluationError: it cannot make these images.
    """

    def __init__(self, model: str, sampling: Sampling, options: ModelOptions) -> None:
        self.name, self.count = model, sampling.images
        self._pipeline: Pipeline = load_pipeline(split_name(model)[1], options)
        info = self._pipeline.info
        self.size = (info.resolution, info.resolution)
        self._sampling = sampling
        self._scale = sampling.cfg if sampling.cfg is not None else 1.5 if info.can_guide else 1.0
        try:
            check_spec(info, SampleSpec(0, sampling.seed, sampling.steps, self._scale, sampling.sampler))
        except ValueError as error:
            raise EvaluationError(f"{model}: {str(error).replace('guidance_scale', 'cfg')}") from error
        self.warnings = tuple(self._notes())

    def identity(self) -> str:
        """The SHA-256 of all that the images depend on."""
        info, sampling = self._pipeline.info, self._sampling
        parts = [info.sha256, info.rest_sha256, info.weights, info.precision, info.dtype, info.device.partition(":")[0]]
        wishes = [self.count, self._scale, sampling.steps, sampling.sampler, sampling.seed, info.guidance_channels]
        return hashlib.sha256(json.dumps([*parts, *wishes, torch.__version__]).encode()).hexdigest()

    def batches(self, size: int) -> Iterator[torch.Tensor]:
        """The images, at most `size` at once: (n, 3, H, W) uint8.

        Raises:
            EvaluationError: what the model makes is no image.
        """
        for first in range(0, self.count, _AT_ONCE):
            made = torch.from_numpy(self._made(first, min(_AT_ONCE, self.count - first)))
            for start in range(0, len(made), size):
                yield made[start : start + size].permute(0, 3, 1, 2)

    def _made(self, first: int, count: int) -> np.ndarray:
        """So many images from that one on: (n, H, W, 3) uint8."""
        sampling, classes = self._sampling, self._pipeline.info.num_classes
        numbers = range(first, first + count)
        try:
            return np.stack(
                self._pipeline.generate(
                    [i % classes for i in numbers],
                    [sampling.seed + i for i in numbers],
                    steps=sampling.steps,
                    guidance_scale=self._scale,
                    sampler=sampling.sampler,
                )
            )
        except FloatingPointError as error:
            raise EvaluationError(
                f"{self.name}: an image is not finite: the weights are no trained model's, or --dtype is too narrow"
            ) from error

    def _notes(self) -> Iterator[str]:
        info = self._pipeline.info
        if self.count % info.num_classes:
            yield (
                f"{self.name}: {self.count} images of {info.num_classes} classes are not equally many of each: "
                "take a multiple"
            )
        if info.dtype != "float32" or info.precision:
            form = info.precision or info.dtype
            yield f"{self.name}: sampled in {form}; published images were in float32 or TF32 (--dtype float32)"
