"""service/commands/destination.py, and what dit generate makes of --out."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dit_serve.service.cli import main
from dit_serve.service.commands import generate
from dit_serve.service.commands.destination import Destination, make_ready, read_destination, write_whole
from dit_serve.service.errors import CommandError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder.png").mkdir()
    Path("plain").touch()
    Path("old.png").write_bytes(b"old")
    os.mkfifo("pipe.png")
    return tmp_path


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may become larger than some bytes, as on a disk that is nearly full; not even one that tests log to."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("text", ["folder", "folder/", "folder.png", "new", "new/", "new.png/", "a/b/c", ".", "~no[b]"])
def test_a_folder_is_what_does_not_end_in_the_suffix_or_exists_as_one(text: str) -> None:
    assert read_destination(text, ".png", 3) == Destination(Path(text))


@pytest.mark.parametrize("text", ["seven.png", "seven.PNG", "old.png", "a/b.png", "-x.png", "-.png"])
def test_one_image_may_have_a_file(text: str) -> None:
    assert read_destination(text, ".png") == Destination(Path(text).parent, Path(text))


@pytest.mark.parametrize(
    ("text", "count", "sentence"),
    [
        ("plain", 1, "plain: --out is a file already: give a folder, or a name that ends in .png"),
        ("plain/", 1, "plain: --out is a file already"),
        ("old.png/", 1, "old.png: --out is a file already"),
        ("/dev/null", 1, "/dev/null: --out is a file already"),
        ("pipe.png", 1, "pipe.png: --out is neither a regular file nor a folder"),
        ("old.png", 2, "old.png: --out is one file, and 2 are to be written: give a folder"),
    ],
)
def test_what_is_neither_is_told(text: str, count: int, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        read_destination(text, ".png", count)


@pytest.mark.parametrize("folder", ["plain/below", "plain", "/proc/none/here", "x" * 300])
def test_a_place_that_cannot_be_written_is_told(folder: str) -> None:
    with pytest.raises(CommandError, match="cannot be written"):
        make_ready(Path(folder))


def test_a_file_is_replaced_whole_and_with_the_usual_mode() -> None:
    before = os.umask(0o027)
    try:
        write_whole(Path("old.png"), b"new")
    finally:
        os.umask(before)
    assert Path("old.png").read_bytes() == b"new"
    assert stat.S_IMODE(Path("old.png").stat().st_mode) == 0o640


def test_a_link_stays_a_link() -> None:
    Path("link.png").symlink_to("folder/there.png")
    write_whole(Path("link.png"), b"new")
    assert Path("link.png").is_symlink()
    assert Path("folder/there.png").read_bytes() == b"new"


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(here: Path) -> None:
    names = sorted(os.listdir(here))
    with full_disk(), pytest.raises(CommandError, match=r"old\.png: cannot be written \(File too large\): make room"):
        write_whole(Path("old.png"), bytes(1000))
    assert Path("old.png").read_bytes() == b"old"
    assert sorted(os.listdir(here)) == names


def test_an_interrupted_writing_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(Path("folder/new.png"), b"new")
    assert os.listdir("folder") == []


def test_no_image_is_computed_for_a_place_that_cannot_be_written(
    random_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "make_images", lambda *_: pytest.fail("it was"))
    assert main(["generate", "--model", str(random_folder), "--class-id", "7", "--out", "plain/below"]) == 2
    assert "plain/below: cannot be written (Not a directory)" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["run[/old] :smile: 50% é", "-leading", "line\nend", "seven.PNG"])
def test_a_path_is_taken_and_printed_as_it_is(
    random_folder: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--class-id", "7", "--steps", "1", "--seed", "0"]
    assert main(["generate", "--model", str(random_folder), *flags, f"--out={out}"]) == 0
    path = out if out.endswith(".PNG") else f"{out}/class-7-thing-7-seed-0.png"
    assert capsys.readouterr() == (f"{path}\n", "")
    assert Path(path).is_file()


def test_a_home_folder_is_expanded_where_no_shell_did(
    random_folder: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    (here / "home" / "model").symlink_to(random_folder)
    flags = ["--class-id", "7", "--steps", "1", "--seed", "0", "--out=~/seven.png"]
    assert main(["generate", "--model", "mine=~/model", *flags]) == 0
    assert (here / "home" / "seven.png").is_file()
    Path("~x.png").touch()
    assert read_destination("~x.png", ".png").file == Path("~x.png")
