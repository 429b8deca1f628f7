"""Reads a file of torch.save by way of the restricted unpickler, and says what a file is that cannot be read so.

torch's own reader finds the storages, and maps them where the format allows; the pickle inside is read by
restricted_pickle.py. What torch.load would do otherwise than by unpickling is refused before: run a TorchScript
archive, unpack a tar file. Only the child process of a conversion imports this. Knows no state dict.

References: torch/serialization.py.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dit_serve.models.checkpoints.pickles import restricted_pickle
from dit_serve.models.checkpoints.pickles.pickle_names import CodeAskedFor
from dit_serve.models.checkpoints.pickles.restricted_pickle import TooLong
from dit_serve.models.errors import found_no_memory, printable

_STORAGES = "data/"  # where an archive has them
_MOST_DIRECTORY_BYTES = 4 << 20  # of an archive's table of records, some 60 bytes each
_END, _END_64, _LOCATOR_64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_PLAIN_PICKLE = "Invalid magic number"  # torch's words for a pickle that something else wrote
_PICKLED_STORAGE = "torch.storage._load_from_bytes"  # how pickle itself writes a tensor
SAVE_ALONE = "save the state dict alone, or do not use this file"
_ENDED = ("unexpected EOF", "Ran out of input")


class PickleRefused(Exception):
    """The source cannot be converted; the message says why and what to do."""


def read_torch_file(source: Path) -> Any:
    """Return the value that torch.save was given: tensors as they are, all other objects inert.

    Raises:
        PickleRefused: the file is cut short, damaged, of another program, too large for memory, or asks for code.
    """
    is_zip = False
    try:
        is_zip = _is_archive(source)
        if not is_zip:
            return _load(source, restricted_pickle)
        within = restricted_pickle.Bounded(_record_bytes(source))
        # mmap wants a path, and torch reads a path of this ending as what it is not
        if source.suffix == ".safetensors":
            with source.open("rb") as file:
                return _load(file, within)
        return _load(source, within, is_mapped=True)
    except CodeAskedFor as error:
        if error.name == _PICKLED_STORAGE:
            raise PickleRefused(_other_pickle()) from error
        raise PickleRefused(
            f"the pickle asks for {printable(error.name)}, which is code and not weights, and is refused: "
            "do not use this file, or save the state dict alone"
        ) from error
    except TooLong as error:
        raise PickleRefused(f"its pickle is longer than any checkpoint's: {SAVE_ALONE}") from error
    except (PickleRefused, OSError):
        raise
    except Exception as error:  # a damaged file can raise anything while it is read
        raise PickleRefused(_words(error, is_zip)) from error


def no_memory() -> str:
    """Return what to say where memory ends: the limit is of this process alone, and follows the file's size."""
    return "asks for more memory than a file of its size may need: save the state dict alone, or use a larger machine"


def _load(source: Any, unpicklers: Any, *, is_mapped: bool = False) -> Any:
    # weights_only stands for an unpickler of torch's, and ours, which allows less, takes its place
    return torch.load(source, map_location="cpu", weights_only=False, mmap=is_mapped, pickle_module=unpicklers)


def _record_bytes(source: Path) -> dict[str, int]:
    """The size of each storage's record in an archive, by the storage's name.

    Raises:
        zipfile.BadZipFile: a record is not where the archive says; torch maps whatever is there.
    """
    with zipfile.ZipFile(source) as archive:
        for each in archive.infolist():
            archive.open(each).close()
    reader = torch._C.PyTorchFileReader(str(source))
    names = [name for name in reader.get_all_records() if name.startswith(_STORAGES)]
    return {name.removeprefix(_STORAGES): reader.get_record_size(name) for name in names}


def _is_archive(source: Path) -> bool:
    """Whether it is a zip file of torch.save, as since torch 1.6; False for the pickles of before.

    Raises:
        PickleRefused: it is another archive, or torch.load would not unpickle it.
    """
    with source.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
        is_endless = is_zip and _directory_bytes(file) > _MOST_DIRECTORY_BYTES
    if is_endless:
        raise PickleRefused(f"a zip archive of more records than any checkpoint has: {SAVE_ALONE}")
    if not is_zip:
        try:
            tarfile.open(source, "r:").close()
        except tarfile.TarError:
            return False
        raise PickleRefused("a tar archive, as torch.save wrote before 2018: save it again with a newer torch")
    if not zipfile.is_zipfile(source):
        raise PickleRefused(_cut_short())
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
        is_packed = any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist())
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        raise PickleRefused(_torchscript())
    if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
        some = ", ".join(printable(name, 30) for name in sorted(names)[:3]) or "nothing"
        raise PickleRefused(
            f"a zip archive that torch.save did not write (it holds {some}): give the weights file itself, "
            "written by torch.save or as safetensors"
        )
    if len(set(names)) < len(names):
        raise PickleRefused(f"a zip archive with a record twice, so that two readers see two models: {SAVE_ALONE}")
    if is_packed:
        raise PickleRefused("a zip archive that is compressed, as torch.save never writes: unpack and save it again")
    # once more with the reader that torch.load asks: archives can look different to two readers
    if "constants.pkl" in torch._C.PyTorchFileReader(str(source)).get_all_records():
        raise PickleRefused(_torchscript())
    return True


def _directory_bytes(file: BinaryIO) -> int:
    """The size of a zip archive's table of records as its end says, 0 where there is none.

    Reference: PKWARE's APPNOTE.TXT, sections 4.3.14 to 4.3.16.
    """
    size = file.seek(0, io.SEEK_END)
    start = file.seek(max(0, size - (1 << 16) - 64))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        return 0
    if end >= 20 and tail[end - 20 : end - 16] == _LOCATOR_64:
        (place,) = struct.unpack_from("<Q", tail, end - 12)
        for begin in (place, start + end - 76):  # where it says, and where Python looks
            head = file.read(56) if begin < size and file.seek(max(0, begin)) >= 0 else b""
            if len(head) == 56 and head.startswith(_END_64):
                return int(struct.unpack_from("<Q", head, 40)[0])
    return int(struct.unpack_from("<I", tail, end + 12)[0])


def _torchscript() -> str:
    return "a TorchScript archive, which is a program and not weights: save model.state_dict() with torch.save"


def _cut_short() -> str:
    return "a truncated torch file, its end is missing: download it again"


def _other_pickle() -> str:
    return "a pickle that torch.save did not write: save the state dict with torch.save, or as safetensors"


def _words(error: Exception, is_zip: bool) -> str:
    """What is wrong with a file that raised this, without torch's own words, which are about its code."""
    text = str(error)
    if not is_zip and (isinstance(error, EOFError) or any(words in text for words in _ENDED)):
        return _cut_short()
    if found_no_memory(error):
        return no_memory()
    if _PLAIN_PICKLE in text:
        return _other_pickle()
    if "beyond its storage" in text or "not its record" in text:
        return "holds a tensor of another size than its data in the file: save model.state_dict() with torch.save"
    return "a damaged torch file, the pickle in it breaks off or makes no sense: copy it anew from where it was saved"
