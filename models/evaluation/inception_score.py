"""The Inception score of class probabilities that come in batches, as ADM's evaluator forms it.

exp of the mean divergence of each image's probabilities from those of all images ("Improved Techniques for Training
GANs", arXiv 1606.03498, section 4), over runs of 5,000 images in the order in which they come; the score is the mean
over the runs. 50,000 images have ten, and a last run may be short. Few images in a run lower the score, and so do
images that are sorted by class.

Knows no network and no image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RUN = 5000  # images whose classes are compared with each other: guided-diffusion's evaluator, split_size


@dataclass(frozen=True, slots=True)
class Score:
    """An Inception score, and its standard deviation over the runs."""

    mean: float
    deviation: float


class InceptionScore:
    """Adds up probabilities; it keeps one row of sums for the run under way, however many images come.

    Args:
        run: images of a run.
    """

    def __init__(self, run: int = RUN) -> None:
        self._run = run
        self._scores: list[float] = []
        self._count = 0
        self._negative_entropy = 0.0
        self._sum: np.ndarray = np.zeros(0)

    def add(self, probabilities: np.ndarray) -> None:
        """Takes probabilities (n, K), each row adding up to 1."""
        rows = np.asarray(probabilities, np.float64)
        while len(rows):
            part, rows = np.split(rows, [self._run - self._count])
            self._sum = part.sum(axis=0) + (self._sum if self._count else 0.0)
            self._negative_entropy += float(_times_log(part).sum())
            self._count += len(part)
            if self._count == self._run:
                self._end_run()

    def score(self) -> Score:
        """The score of all so far.

        Raises:
            ValueError: there are none.
        """
        if self._count:
            self._end_run()
        if not self._scores:
            raise ValueError("an Inception score needs probabilities, got none")
        return Score(float(np.mean(self._scores)), float(np.std(self._scores)))

    def _end_run(self) -> None:
        mean = self._sum / self._count
        self._scores.append(float(np.exp(self._negative_entropy / self._count - _times_log(mean).sum())))
        self._count, self._negative_entropy = 0, 0.0


def _times_log(p: np.ndarray) -> np.ndarray:
    """p log p, which is 0 where p is."""
    return np.asarray(p * np.log(np.where(p > 0.0, p, 1.0)))
