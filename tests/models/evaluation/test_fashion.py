"""The classifier of clothes: what it sees, what it says, and how it is trained."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dit_serve.models.evaluation.clothes import nearest, to_scans
from dit_serve.models.evaluation.fashion import WEIGHTS, FashionClassifier, load_fashion_network, seen
from dit_serve.models.evaluation.fashion_training import augmented, train_classifier
from dit_serve.models.training.fashion import IdxPictures
from dit_serve.models.training.upsampling import upsample
from tests.models.training.test_fashion import write_idx


def _blobs(count: int) -> np.ndarray:
    """Smooth grey pictures of 28 pixels in [0, 1], no two alike."""
    noise = torch.randn(count, 1, 28, 28)
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(noise, 5, 1, 2), 5, 1, 2)
    return torch.sigmoid(20.0 * smooth)[:, 0].numpy()


def test_shipped_weights_are_small_and_named_by_their_sum() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert load_fashion_network().sha256 == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()


def test_activations_are_the_classifiers() -> None:
    images = torch.from_numpy(upsample(_blobs(4), 64)).unsqueeze(1).expand(-1, 3, -1, -1)
    found = load_fashion_network()(images)
    assert (found.pooled.shape, found.spatial.shape, found.probabilities.shape) == ((4, 128), (4, 392), (4, 10))
    classifier = FashionClassifier().eval()
    classifier.load_state_dict(load_file(WEIGHTS))
    classifier.double()
    with torch.no_grad():
        last = classifier(seen(images).double())
        torch.testing.assert_close(found.pooled.double(), last.mean((2, 3)), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.spatial.double(), last[:, :8].reshape(4, -1), atol=1e-4, rtol=1e-4)
        expected = classifier.head(last.mean((2, 3))).softmax(1)
        torch.testing.assert_close(found.probabilities.double(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("resolution", [28, 56, 64, 100])
def test_a_picture_looks_the_same_at_every_resolution(resolution: int) -> None:
    pictures = _blobs(4)
    images = torch.from_numpy(upsample(pictures, resolution)).unsqueeze(1).expand(-1, 3, -1, -1)
    assert np.abs(seen(images)[:, 0].numpy() - pictures).max() < 0.03


def test_pictures_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 28 pixels, got 32x27"):
        load_fashion_network()(torch.zeros(1, 3, 32, 27, dtype=torch.uint8))


def test_training_learns_from_the_pictures_and_is_decided_by_its_seed(tmp_path: Path) -> None:
    labels = np.arange(256) % 2
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", 60 * _blobs(256) + 120 * labels[:, None, None])
    pictures = IdxPictures(tmp_path, "train", 28)
    network = train_classifier(pictures, epochs=8, seed=0)
    scans = torch.from_numpy(pictures.scans.copy()).unsqueeze(1).float() / 255.0
    with torch.no_grad():
        found = network.logits(scans).argmax(1)
    assert float((found == pictures.labels).float().mean()) > 0.95
    a, b, c = (train_classifier(pictures, epochs=1, seed=seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_augmented_pictures_are_moved_and_mirrored_and_nothing_else() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[0, 0, 10:14, 10:12] = torch.rand(4, 2)
    found = augmented(image.expand(64, -1, -1, -1), torch.Generator().manual_seed(0))
    assert found.shape == (64, 1, 28, 28)
    places = set()
    for each in found[:, 0]:
        rows, columns = each.nonzero().unbind(1)
        row, column = int(rows.min()), int(columns.min())
        piece = each[row : row + 4, column : column + 2]
        is_mirrored = not torch.equal(piece, image[0, 0, 10:14, 10:12])
        assert torch.equal(piece.flip(1) if is_mirrored else piece, image[0, 0, 10:14, 10:12])
        places.add((is_mirrored, row - 10, column - (16 if is_mirrored else 10)))
    assert {offset for _, *offsets in places for offset in offsets} == {-2, -1, 0, 1, 2}
    assert {is_mirrored for is_mirrored, *_ in places} == {False, True}


def test_nearest_is_the_smallest_difference_over_all_pairs() -> None:
    scans, others = np.random.default_rng().uniform(0, 255, (7, 784)), np.random.default_rng().uniform(0, 255, (9, 784))
    expected = np.sqrt(np.square(scans[:, None] - others).mean(2)).min(1)
    np.testing.assert_allclose(nearest(scans, others), expected, rtol=1e-9)
    assert nearest(others, others).max() < 1e-3


def test_scans_are_the_area_averages_of_pictures() -> None:
    image = np.random.default_rng().integers(0, 256, (56, 56, 3), dtype=np.uint8)
    expected = image.reshape(28, 2, 28, 2, 3).mean((1, 3, 4)).reshape(1, -1)
    np.testing.assert_allclose(to_scans([image]), expected, rtol=1e-9)
