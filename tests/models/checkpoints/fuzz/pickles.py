"""Damage to pickles and to the zip files around them: opcodes, lengths, names that are called, sizes, entries."""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
from random import Random

OPCODES = bytes(ord(each.code) for each in pickletools.opcodes)
HUGE = (
    b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\xff", b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x8d" + b"\xff" * 8,
    b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\xff", b"\x95" + b"\xff" * 8, b"T\xff\xff\xff\x7f", b"J\xff\xff\xff\xff",
    b"(" * 3000, b"]" * 3000 + b"a" * 2000, b"r\x00\x00\x00\x08", b"\x96" + b"\xff" * 7 + b"\x7f",
)
CALLED = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch.serialization\nload\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cdit_serve.models.dit\nDiT\n", b"ctorch\nzeros\n", b"c\xff\xfe\nx\n", b"c" + b"a" * 4000 + b"\nb\n",
    b"ccollections\nCounter\n", b"c__main__\nArgs\n", b"ctorch._utils\n_rebuild_parameter\n", b"c\x1b[31m\n\n",
)
WORDS = (
    (b"cpu", b"gpu"), (b"cpu", b"cuda:0"), (b"cpu", b"meta"), (b"storage", b"stor\xffge"),
    (b"FloatStorage", b"LongStorage"),
    (b"FloatStorage", b"QUInt8Storage"), (b"_rebuild_tensor_v2", b"_rebuild_xla_tensor"), (b"weight", b"height"),
    (b"OrderedDict", b"defaultdict"), (b"bias", b"b\x1bas"), (b"collections", b"subprocess "), (b"torch", b"porch"),
)


def damaged_pickle(rng: Random, raw: bytes) -> bytes:
    """A pickle, or several one after another, with an opcode moved, changed, put in or left out."""
    places = _places(raw)
    at = rng.choice(places)
    end = next((place for place in places if place > at), len(raw))
    match rng.randrange(8):
        case 0:
            return raw[:at] + rng.choice(HUGE) + raw[at:]
        case 1:
            return raw[:at] + rng.choice(CALLED) + rng.choice([b"", b"(tR", b")R", b")\x81", b"0"]) + raw[at:]
        case 2:
            return raw[:at] + bytes([rng.choice(OPCODES)]) + raw[at:]
        case 3:
            return raw[:at] + bytes([rng.choice(OPCODES)]) + raw[at + 1 :]
        case 4:
            return raw[:at] + raw[end:]
        case 5:
            other = rng.choice(places)
            stop = next((place for place in places if place > other), len(raw))
            return raw[:at] + raw[other:stop] + raw[end:]
        case 6:
            known, other = rng.choice([pair for pair in WORDS if pair[0] in raw] or [(b"\x80", b"\x81")])
            return raw.replace(known, other, rng.choice([1, -1]))
        case _:
            return raw[: at + 1] + rng.randbytes(min(4, len(raw) - at - 1)) + raw[at + 5 :]


def damaged_zip(rng: Random, raw: bytes) -> bytes:
    """A zip file with its entries or its directory changed, or the pickle inside."""
    match rng.randrange(4):
        case 0:
            return _other_numbers(rng, raw)
        case 1:
            return _rewritten(rng, raw)
        case _:
            entries = _entries(raw)
            name = next((each for each in entries if each.endswith("data.pkl")), next(iter(entries), ""))
            return _zipped({**entries, name: damaged_pickle(rng, entries.get(name, b"\x80\x02."))})


def _other_numbers(rng: Random, raw: bytes) -> bytes:
    """The file with a number of a local header, of the directory or of its end replaced."""
    marks = [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]
    places = [at for mark in marks for at in _all_of(raw, mark)]
    at = rng.choice(places) + rng.randrange(4, 46) if places else 0
    number = rng.choice([0, 1, 2, 2**15, 2**16 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)])
    packed = struct.pack("<I", number)[: rng.choice([1, 2, 4])]
    return raw[:at] + packed + raw[at + len(packed) :]


def _rewritten(rng: Random, raw: bytes) -> bytes:
    """The zip anew, with its entries renamed, dropped, doubled, swapped or compressed."""
    entries = _entries(raw)
    names = list(entries)
    one, other = rng.choice(names), rng.choice(names)
    match rng.randrange(8):
        case 0:
            entries.pop(one)
        case 1:
            new = ["../x", "/etc/passwd", "x" * 60_000, one.replace("/", "\\"), "a\nb", "data.pkl"]
            entries[rng.choice(new)] = entries.pop(one)
        case 2:
            entries[one], entries[other] = entries[other], entries[one]
        case 3:
            entries[one] = entries[one][: len(entries[one]) // 2]
        case 4:
            entries[one] += rng.randbytes(64)
        case 5:
            entries = {name: b"big" if name.endswith("byteorder") else data for name, data in entries.items()}
        case 6:
            return _zipped(entries, zipfile.ZIP_DEFLATED)
        case _:
            entries[rng.choice(["archive/constants.pkl", "archive/code/x.py", "archive/data/99", "x"])] = b"\x80\x02}."
    return _zipped(entries)


def _entries(raw: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return {name: archive.read(name) for name in archive.namelist()} or {"x": b""}
    except Exception:  # an earlier damage
        return {"x": b""}


def _zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(name[:65_000]), data, compression)
    return into.getvalue()


def _places(raw: bytes) -> list[int]:
    """Where opcodes begin, in the pickles that a file begins with."""
    places, first = [], 0
    try:
        for _ in range(6):
            for opcode, _, at in pickletools.genops(raw[first:]):
                places.append(first + int(at or 0))
                if opcode.name == "STOP":
                    break
            first = places[-1] + 1
    except (ValueError, IndexError, TypeError):  # the end, or an earlier damage
        pass
    return places or [0]


def _all_of(raw: bytes, mark: bytes) -> list[int]:
    places, at = [], raw.find(mark)
    while at >= 0:
        places.append(at)
        at = raw.find(mark, at + 1)
    return places
