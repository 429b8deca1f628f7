"""models/checkpoints/cache.py."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_serve.models.checkpoints.cache import cache_folder, files_sha256, known_sums
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


def test_the_cache_may_be_below_the_home_folder_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIT_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"


def test_sums_that_are_kept_are_known_until_a_file_changes(tmp_path: Path) -> None:
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    first, second = files_sha256([one]), files_sha256([one, two])
    assert dict(known_sums()) == {(one,): first, (one, two): second}
    two.unlink()
    assert dict(known_sums()) == {(one,): first}


@pytest.mark.parametrize("content", ['{"files": [], "sha256": "x"}', '{"files": [1], "sha256": "x"}', "[]"])
def test_a_broken_entry_is_not_known(own_cache: Path, content: str) -> None:
    (own_cache / "sums").mkdir(parents=True)
    (own_cache / "sums" / "x.json").write_text(content)
    assert list(known_sums()) == []


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No DIT_CACHE and no home folder, as for a user that a container's image does not know."""
    monkeypatch.delenv("DIT_CACHE")
    monkeypatch.setattr(Path, "home", _no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"dit-serve-{os.getuid()}"


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_without_a_home_the_cache_is_a_private_folder_for_temporary_files(homeless: Path, tmp_path: Path) -> None:
    assert cache_folder() == homeless
    assert homeless.stat().st_mode & 0o777 == 0o700
    (tmp_path / "a").write_bytes(b"1")
    files_sha256([tmp_path / "a"])
    assert len(entries(homeless)) == 1


def test_a_home_that_cannot_be_written_is_none(homeless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "file" / "home")
    assert cache_folder() == homeless


@pytest.mark.parametrize("make", [lambda path: path.mkdir(mode=0o777), Path.touch, lambda path: path.symlink_to("/")])
def test_somebody_elses_folder_is_no_cache(homeless: Path, make: Callable[[Path], None]) -> None:
    make(homeless)
    if homeless.is_dir() and not homeless.is_symlink():
        homeless.chmod(0o777)
    with pytest.raises(CheckpointError, match="open to others: set DIT_CACHE"):
        cache_folder()


@pytest.mark.parametrize("name", ["", "sums"])
def test_a_cache_that_others_can_write_is_not_believed(tmp_path: Path, own_cache: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (own_cache / name).mkdir(parents=True)
    (own_cache / name).chmod(0o777)
    for use in (lambda: files_sha256([tmp_path / "a"]), lambda: list(known_sums())):
        with pytest.raises(CheckpointError, match=r"can be written by everybody, .* set DIT_CACHE to a folder"):
            use()


def test_a_link_in_the_place_of_the_cache_is_refused(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    own_cache.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="dit-cache: is a link"):
        cache_folder()


def test_a_link_in_the_place_of_a_sum_is_replaced_and_what_it_leads_to_left(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    real = files_sha256([tmp_path / "a"])
    [entry] = entries(own_cache)
    precious = tmp_path / "precious"
    precious.write_text(entry.read_text().replace(real, "forged"))
    before = precious.read_text()
    entry.unlink()
    entry.symlink_to(precious)
    assert files_sha256([tmp_path / "a"]) == real
    assert precious.read_text() == before
    assert not entry.is_symlink()
