"""Which .npz files are taken, and the sentence for each that is not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dit_serve.models.errors import EvaluationError
from dit_serve.models.evaluation.archives import Archive
from tests.models.evaluation.standin import random_images, save_npz

EYE = np.eye(4)


def refusal(path: Path) -> str:
    """The sentence for a file, whether its headers or its arrays are to blame."""
    with pytest.raises(EvaluationError) as raised:
        read_whole(path)
    sentence = str(raised.value)
    assert sentence.startswith(f"{path}: ")
    assert len(sentence.removeprefix(str(path))) < 240
    assert "\n" not in sentence
    return sentence


def read_whole(path: Path) -> None:
    archive = Archive(path)
    for name in archive.entries:
        if name == "arr_0":
            list(archive.images(16))
        else:
            archive[name]


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def write_members(path: Path, **members: bytes) -> Path:
    """A zip of such entries, compressed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("is_compressed", [False, True])
def test_images_come_in_batches_as_they_were_saved(tmp_path: Path, is_compressed: bool) -> None:
    images, path = random_images(37), tmp_path / "a.npz"
    (np.savez_compressed if is_compressed else np.savez)(path, arr_0=images, arr_1=np.arange(37))
    batches = list(Archive(path).images(16))
    assert [len(batch) for batch in batches] == [16, 16, 5]
    assert np.array_equal(np.concatenate(batches), images)


def test_statistics_and_features_are_read_in_any_float_and_order(tmp_path: Path) -> None:
    features = np.asfortranarray(np.random.default_rng(0).normal(size=(9, 4)).astype(np.float16))
    archive = Archive(save_npz(tmp_path / "a.npz", features=features, mu=np.ones(4), sigma=EYE))
    assert np.array_equal(archive["features"], features)
    assert np.array_equal(archive["sigma"], EYE)
    assert "mu_s" not in archive


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": random_images(4)}, "holds images, and known are arr_0"),
        ({"arr_1": np.arange(4)}, "nothing to measure"),
        ({"mu": np.ones(4)}, "holds mu and no sigma"),
        ({"sigma_s": EYE}, "holds sigma_s and no mu_s"),
        ({"mu": np.ones(3), "sigma": EYE}, "must be (D, D) and (D,)"),
        ({"mu": np.ones(4), "sigma": np.ones((4, 3))}, "must be (D, D) and (D,)"),
        ({"mu": np.ones((1, 4)), "sigma": EYE}, "1 axes of floats"),
        ({"arr_0": random_images(4) / 255.0}, "images are uint8, 0 to 255"),
        ({"arr_0": random_images(4).transpose(0, 3, 1, 2).copy()}, "with channels first"),
        ({"arr_0": random_images(4)[..., 0]}, "images are (N, H, W, 3) uint8"),
        ({"arr_0": np.zeros((4, 8, 8, 4), np.uint8)}, "images are (N, H, W, 3) uint8"),
        ({"arr_0": random_images(1)}, "2 images at least"),
        ({"arr_0": np.zeros((2, 0, 8, 3), np.uint8)}, "sides of 1 to 4096"),
        ({"arr_0": np.asfortranarray(random_images(4))}, "Fortran"),
        ({"features": np.arange(12).reshape(4, 3)}, "2 axes of floats"),
        ({"features": np.ones(4)}, "2 axes of floats"),
        ({"features": np.ones((1, 4))}, "has 1 rows: give 2"),
        ({"features": np.ones((4, 20_000), np.float16)}, "1 to 16384 are taken"),
        ({"features": np.ones((4, 3)), "spatial": np.ones((5, 3))}, "spatial has 5 rows, and others 4"),
        ({"features": np.ones((4, 3)), "arr_0": random_images(4)}, "images (arr_0) and features"),
        ({"features": np.array([[1.0, np.nan], [0.0, 1.0]])}, "NaN or infinity"),
        ({"mu": np.array([np.inf, 0.0]), "sigma": np.eye(2)}, "NaN or infinity"),
    ],
)
def test_arrays_that_are_not_what_their_names_say_are_refused(
    arrays: dict[str, np.ndarray], words: str, tmp_path: Path
) -> None:
    assert words in refusal(save_npz(tmp_path / "a.npz", **arrays))


def test_objects_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (tmp_path.joinpath("sprung").touch, ())

    data = npy(np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    for name in ("features", "arr_0", "arr_1"):
        path = write_members(tmp_path / "a.npz", mu=npy(np.ones(2)), sigma=npy(np.eye(2)), **{name: data})
        assert "Python objects, which are never opened" in refusal(path)
    assert not (tmp_path / "sprung").exists()


def test_a_header_that_declares_more_than_there_is_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    small = npy(random_images(4))
    more = small.replace(b"(4, 8, 8, 3)", b"(9, 8, 8, 3)")
    for name, data in (("cut", small[:-1]), ("more", more)):
        assert "has another length" in refusal(write_members(tmp_path / f"{name}.npz", arr_0=data))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 16_384)}
    )
    assert "has another length" in refusal(write_members(tmp_path / "b.npz", features=header.getvalue()))


def test_what_is_no_whole_archive_is_refused(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", arr_0=random_images(50))
    whole = path.read_bytes()
    for data in (b"", b"not a zip", whole[: len(whole) // 2]):
        path.write_bytes(data)
        assert "cannot be read as an .npz" in refusal(path)
    path.write_bytes(whole[:400] + bytes(100) + whole[500:])  # within the images, which have a checksum
    assert "cannot be read as an .npz (Bad CRC-32" in refusal(path)
    path.write_bytes(whole[:40] + bytes(20) + whole[60:])  # within the header
    assert "cannot be read as an .npz" in refusal(path)


def test_entries_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x")
    assert "'data.pkl', which is no plain array" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", npy(np.ones((3, 2))))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("features.npy", npy(np.ones((3, 2))))
    assert "twice" in refusal(path)


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    assert "no regular file" in refusal(tmp_path / "a.npz")
