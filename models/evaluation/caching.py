"""What a network made of images, kept in the cache: a reference is measured once, whatever it is compared with.

    $DIT_CACHE/evaluation/KEY.safetensors

The key is a SHA-256 of the images' identity, the network's weights and the form of what is kept. The folder has a
bound: what was longest not used goes first. Losing it costs time, nothing else; who may write it, trust.py says.

Knows no image and no network.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dit_serve.models.checkpoints.cache import cache_room
from dit_serve.models.checkpoints.trust import create, fault_of, make_folder, written_whole
from dit_serve.models.errors import CheckpointError
from dit_serve.models.evaluation.inception_score import Score
from dit_serve.models.evaluation.measuring import Measured, measure
from dit_serve.models.evaluation.networks import FeatureNetwork
from dit_serve.models.evaluation.sources import ImageSource
from dit_serve.models.evaluation.statistics import Statistics

ROOM = "evaluation"  # the cache's folder
MOST_BYTES = 8 << 30  # of all entries; one of 50,000 images has 0.5 GB
_FORM = 1  # of an entry: another number, and none of before is read
_SUFFIX = ".safetensors"


def measure_once(source: ImageSource, network: FeatureNetwork, batch_size: int) -> Measured:
    """What `measure` gives, from the cache where it was measured before; else it is kept there.

    Raises:
        EvaluationError: see `measure`.
    """
    entry = _entry(source, network)
    if (known := _read(entry, source)) is not None:
        return known
    measured = measure(source, network, batch_size)
    _keep(entry, measured)
    return measured


def _entry(source: ImageSource, network: FeatureNetwork) -> Path:
    parts = [_FORM, source.identity(), network.name, network.sha256]
    return cache_room(ROOM) / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}{_SUFFIX}"


def _read(entry: Path, source: ImageSource) -> Measured | None:
    """An entry, None where there is none that may be believed, or it is damaged."""
    if not entry.is_file() or fault_of(entry):
        return None
    try:
        with safe_open(entry, framework="numpy") as file:
            kept = {name: file.get_tensor(name) for name in file.keys()}
        features, score = kept["features"], kept["inception_score"]
        pooled = Statistics(kept["mu"], kept["sigma"])
        spatial = Statistics(kept["mu_s"], kept["sigma_s"])
        known = Measured(source.name, len(features), features, pooled, spatial, Score(float(score[0]), float(score[1])))
    except (SafetensorError, OSError, LookupError, ValueError, TypeError):
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # used just now
    return known if known.count == source.count else None


def _keep(entry: Path, measured: Measured) -> None:
    """Write an entry, whole or not at all; a cache that cannot be written only means that it is measured again."""
    pooled, spatial, score = measured.pooled, measured.spatial, measured.inception_score
    if measured.features is None or pooled is None or spatial is None or score is None:
        return  # of a file that has its own
    data = save(
        {
            "features": np.ascontiguousarray(measured.features),
            "mu": pooled.mean,
            "sigma": pooled.covariance,
            "mu_s": spatial.mean,
            "sigma_s": spatial.covariance,
            "inception_score": np.array([score.mean, score.deviation]),
        }
    )
    if len(data) > MOST_BYTES:
        return
    with contextlib.suppress(OSError, CheckpointError):
        make_folder(entry.parent)
        _make_room(entry.parent, len(data))
        with written_whole(entry) as partial, open(create(partial), "wb") as file:
            file.write(data)


def _make_room(folder: Path, needed: int) -> None:
    """Remove what was longest not used until so many bytes more are within the bound."""
    entries = sorted(
        ((found.st_mtime_ns, found.st_size, path) for path in folder.iterdir() if (found := path.stat())),
        reverse=True,
    )
    left = MOST_BYTES - needed
    for _, size, path in entries:
        left -= size
        if left < 0:
            path.unlink(missing_ok=True)
