"""models/checkpoints/pickles/torch_file.py: what is no state dict of torch.save is told for what it is."""

from __future__ import annotations

import io
import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dit_serve.models.checkpoints.pickles.torch_file import PickleRefused, read_torch_file

WHOLE = {"x": torch.arange(1000.0)}


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save(WHOLE, buffer)
    return buffer.getvalue()


def zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def parts() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(saved())) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def misplaced() -> bytes:
    """A file whose directory has the numbers' record eight bytes further on."""
    whole, name = saved(), b"archive/data/0"
    place = whole.rindex(name) - 4  # the offset is the last entry before the name, in the directory at the end
    offset = int.from_bytes(whole[place : place + 4], "little")
    return whole[:place] + (offset + 8).to_bytes(4, "little") + whole[place + 4 :]


def twice() -> bytes:
    """A file with another pickle under the name of the first."""
    buffer = io.BytesIO(saved())
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return buffer.getvalue()


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


def tar() -> bytes:
    """A tar file whose first name begins as a pickle does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", encoding="latin-1") as archive:
        archive.addfile(tarfile.TarInfo("\x80storages"))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped({**parts(), "archive/constants.pkl": b""}), "a TorchScript archive, which is a program"),
        (numpy_archive(), r"a zip archive that torch.save did not write \(it holds x.npy\)"),
        (zipped({"a\x1b[2J": b""}), r"\(it holds a\\x1b\[2J\)"),
        (zipped(parts(), zipfile.ZIP_DEFLATED), "a zip archive that is compressed, as torch.save never writes"),
        (zipped({**parts(), "archive/data/0": bytes(100)}), "holds a tensor of another size than its data in the file"),
        (misplaced(), "a damaged torch file"),
        (saved()[:-30], "a truncated torch file, its end is missing: download it again"),
        (zipped(parts() | {"archive/data.pkl": b"\x80\x02}"}), "a damaged torch file, .*: copy it anew"),
        (twice(), "a zip archive with a record twice, so that two readers see two models"),
        (zipped({**parts(), **{f"{i}{'x' * 60_000}": b"" for i in range(80)}}), "a zip archive of more records than"),
        (tar(), "a tar archive, as torch.save wrote before 2018"),
        (pickle.dumps({"a": 1}), "a pickle that torch.save did not write"),
        (pickle.dumps(WHOLE), "a pickle that torch.save did not write"),
        (b"\x80\x02\xff", "a damaged torch file"),
    ],
)
def test_what_cannot_be_read_is_told_for_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(PickleRefused, match=words) as caught:
        read_torch_file(path)
    assert len(str(caught.value)) < 200
    assert "download" not in str(caught.value) or "truncated" in words
    assert "weights_only" not in str(caught.value)


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    name = next(name for name in parts() if name.endswith("data.pkl"))
    pickled = parts()[name]
    assert pickled.count(b"M\xe8\x03") == 2  # 1000: of the storage, then of the tensor
    last = pickled.rindex(b"M\xe8\x03")
    path.write_bytes(zipped(parts() | {name: pickled[:last] + b"M\xe9\x03" + pickled[last + 3 :]}))
    with pytest.raises(PickleRefused, match="holds a tensor of another size than its data in the file"):
        read_torch_file(path)


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    for name in ("x.pt", "x.safetensors", "x"):
        (tmp_path / name).write_bytes(saved())
        assert torch.equal(read_torch_file(tmp_path / name)["x"], WHOLE["x"])
