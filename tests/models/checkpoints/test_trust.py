"""models/checkpoints/trust.py: what in a cache may be somebody else's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dit_serve.models.checkpoints.trust import create, fault_of, make_folder, read_own, refuse_foreign, written_whole
from dit_serve.models.errors import CheckpointError

IS_ROOT = os.geteuid() == 0


def made(path: Path, mode: int = 0o755) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


def linked(path: Path) -> Path:
    path.symlink_to(path.parent)
    return path


def hard_linked(path: Path) -> Path:
    path.with_name("other").write_text("precious")
    path.hardlink_to(path.with_name("other"))
    return path


def open_to_all(path: Path) -> Path:
    path.touch()
    path.chmod(0o666)
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (linked, "is a link"),
        (hard_linked, "has a second name, a hard link"),
        (open_to_all, "can be written by everybody"),
        (pipe, "is neither a file nor a folder"),
        (lambda path: made(path, 0o777), "can be written by everybody"),
    ],
)
def test_what_somebody_else_can_have_put_there_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    path = make(tmp_path / "x")
    with pytest.raises(CheckpointError, match=f"x: {words}, and what is in the cache is believed: .* set DIT_CACHE"):
        refuse_foreign(path)


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_what_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(made(tmp_path / "x"), 12345, 12345)
    assert fault_of(tmp_path / "x") == "belongs to another user (12345)"


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o775, 0o2775, 0o1777])
def test_folders_of_ones_own_of_a_group_and_for_temporary_files_are_taken(tmp_path: Path, mode: int) -> None:
    refuse_foreign(made(tmp_path / "x", mode))
    refuse_foreign(tmp_path / "none")


def test_what_is_made_is_ones_own_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_folder(tmp_path / "a" / "b")
        os.close(create(tmp_path / "a" / "b" / "c"))
    finally:
        os.umask(before)
    assert not any(fault_of(path) for path in (tmp_path / "a").rglob("*"))
    assert not fault_of(tmp_path / "a")


def test_a_new_file_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        create(tmp_path / "x")
    assert not (tmp_path / "elsewhere").exists()


def test_a_small_file_is_read_if_it_is_ones_own(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert read_own(tmp_path / "x", 3) == b"abc"
    (tmp_path / "link").symlink_to("x")
    for path, most in ((tmp_path / "x", 2), (tmp_path / "link", 3), (tmp_path, 3), (pipe(tmp_path / "pipe"), 3)):
        with pytest.raises(OSError):  # noqa: PT011 which one is the system's to say
            read_own(path, most)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with written_whole(tmp_path / "x") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "x").exists()
    half = written_whole(tmp_path / "x")
    half.__enter__().write_text("half")
    assert not half.__exit__(ValueError, ValueError("half"), None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("x", "whole")]
