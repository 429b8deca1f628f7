"""The whole way from two words of a command line to a report: what they name, by which network, measured once each.

What is cheap to refuse is refused first: files and folders before a network is loaded, and the network before a model
makes images for hours. Knows no command.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dit_serve.models.device import choose_device
from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.archives import IMAGES, RANKS, Archive
from dit_serve.models.evaluation.caching import measure_once
from dit_serve.models.evaluation.evaluation import Evaluation, compare
from dit_serve.models.evaluation.measuring import Measured, from_archive, measure, with_stored
from dit_serve.models.evaluation.networks import INCEPTION_SHA256, FeatureNetwork, load_network
from dit_serve.models.evaluation.options import Sampling, Wanted
from dit_serve.models.evaluation.sampled import ModelImages
from dit_serve.models.evaluation.sources import ArchiveImages, DatasetImages, ImageSource, Kind, kind_of, open_pictures
from dit_serve.models.options import expanded


@dataclass(frozen=True, slots=True)
class Report:
    """The figures, how many images they are of (None for statistics alone) and by which network (None if by none)."""

    evaluation: Evaluation
    samples: int | None
    reference_samples: int | None
    network: str | None
    network_sha256: str | None


@dataclass(slots=True)
class _Side:
    """One of the two: what it is, and as far as they are there by now, its images and what its file says of itself."""

    text: str
    kind: Kind
    images: ImageSource | None = None
    stored: Measured | None = None

    @property
    def needs_network(self) -> bool:
        return self.images is not None or self.kind in ("dataset", "model")


def evaluate(samples: str, reference: str, wanted: Wanted) -> Report:
    """All figures of samples against a reference, each as a command line names it.

    Raises:
        EvaluationError: a side or the network cannot be used.
        CheckpointError: a model or weights cannot be loaded.
        DeviceError: the device is not to be had.
    """
    device = choose_device(wanted.model.device)
    sides = [_Side(text, kind_of(text)) for text in (samples, reference)]
    for side in sides:
        _open_file(side, wanted)
    network = None
    if any(side.needs_network for side in sides):
        network = load_network(wanted.features, device, wanted.inception_weights)
        _refuse_other_networks(sides, network)
    for kind in ("model", "dataset"):  # a data set is drawn in the size of what a model makes
        for side, other in zip(sides, reversed(sides), strict=True):
            if side.kind == kind:
                _open_maker(side, other, wanted)
    first, second = (_measured(side, network, wanted) for side in sides)
    found = compare(first, second, device)
    found.warnings[:0] = _warnings(sides, network, wanted)
    return Report(
        found,
        first.count,
        second.count,
        network.name if network else None,
        network.sha256 if network else None,
    )


def _open_file(side: _Side, wanted: Wanted) -> None:
    """Files and folders: their headers are judged, and what needs no network is read."""
    if side.kind == "pictures":
        side.images = open_pictures(side.text, wanted.resolution)
    elif side.kind == "archive":
        archive = Archive(Path(expanded(side.text)))
        side.stored = from_archive(archive) if archive.entries.keys() & RANKS.keys() else None
        side.images = ArchiveImages(archive) if IMAGES in archive else None


def _refuse_other_networks(sides: list[_Side], network: FeatureNetwork) -> None:
    """What a file says of itself must be of features as wide as the network's; asked before hours of sampling."""
    stored = [side.stored for side in sides if side.stored is not None]
    if not stored:
        return
    found = network(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    for each in stored:
        for what, own, brought in (("pooled", found.pooled, each.pooled), ("spatial", found.spatial, each.spatial)):
            if brought is not None and brought.width != own.shape[1]:
                raise EvaluationError(
                    f"{each.name}: has {what} features of {brought.width} numbers, and {network.name} {own.shape[1]}: "
                    "choose the network that they are of (--features)"
                )


def _open_maker(side: _Side, other: _Side, wanted: Wanted) -> None:
    """What makes its images: a model, or a data set in the size that is asked for or that the other side has."""
    if side.kind == "model":
        side.images = ModelImages(side.text, wanted.sampling, wanted.model)
        return
    resolution = wanted.resolution or (max(other.images.size) if other.images is not None else None)
    if resolution is None:
        raise EvaluationError(f"{side.text}: the other side does not say how large to draw it: give --resolution")
    side.images = DatasetImages(side.text, resolution)


def _measured(side: _Side, network: FeatureNetwork | None, wanted: Wanted) -> Measured:
    if side.images is None or network is None:
        assert side.stored is not None
        return side.stored
    measured = (measure_once if wanted.is_cached else measure)(side.images, network, wanted.batch_size)
    return measured if side.stored is None else with_stored(measured, side.stored)


def _warnings(sides: list[_Side], network: FeatureNetwork | None, wanted: Wanted) -> list[str]:
    """What is to be said of the two together, and of each one's images."""
    found = [warning for side in sides if side.images is not None for warning in side.images.warnings]
    sizes = [side.images.size for side in sides if side.images is not None]
    if len(sizes) == 2 and sizes[0] != sizes[1]:
        (height, width), (other_height, other_width) = sizes
        found.append(
            f"{sides[0].text}: images are {width}x{height}, and those of {sides[1].text} {other_width}x{other_height}: "
            "the network scales both to its own size, and sees the difference"
        )
    if wanted.sampling != Sampling() and not any(side.kind == "model" for side in sides):
        found.append("neither side is a model: flags that say how images are made, such as --images, do nothing")
    if sides[0].text == sides[1].text:
        found.append(f"{sides[0].text}: is compared with itself")
    if network is None:
        return found
    if wanted.features == "inception" and network.sha256 != INCEPTION_SHA256:
        found.append(f"{network.name}: its weights are not the published ones, and its figures compare with nobody's")
    for side in sides:
        if not side.needs_network:
            found.append(f"{side.text}: nothing in it says that it is of {network.name}: no other network's compares")
    return found
