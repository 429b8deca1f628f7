"""models/checkpoints/cache.py."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from dit_serve.models.checkpoints.cache import cache_folder, files_sha256
from dit_serve.models.errors import CheckpointError


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "sums").iterdir())


def test_the_sum_of_one_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc" * 3_000_000)
    assert files_sha256([path]) == hashlib.sha256(b"abc" * 3_000_000).hexdigest()


def test_the_sum_of_several_files_is_of_their_bytes_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert files_sha256([tmp_path / "b", tmp_path / "a"]) == hashlib.sha256(b"21").hexdigest()


def test_a_known_file_is_not_read_again(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    real = files_sha256([path])
    [entry] = entries(own_cache)
    entry.write_text(entry.read_text().replace(real, "known"))
    assert files_sha256([path]) == "known"


def test_a_file_changed_without_its_time_and_size_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    before, stat = files_sha256([path]), path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    assert files_sha256([path]) == hashlib.sha256(b"2").hexdigest() != before


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"sha256": 1}', b"\xff"])
def test_a_broken_entry_is_computed_anew(tmp_path: Path, own_cache: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    real = files_sha256([path])
    [entry] = entries(own_cache)
    entry.write_bytes(content)
    assert files_sha256([path]) == real


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"1")
    monkeypatch.setenv("DIT_CACHE", str(path / "below-a-file"))
    assert files_sha256([path]) == hashlib.sha256(b"1").hexdigest()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none: cannot be read"):
        files_sha256([tmp_path / "none"])


def test_the_cache_is_in_the_home_folder_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIT_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "dit-serve"
