"""service/commands/caches.py, and that a user without a home folder can do everything."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dit_serve.models.errors import CheckpointError
from dit_serve.service.cli import main
from dit_serve.service.commands import caches
from dit_serve.service.commands.caches import settle_caches
from dit_serve.service.commands.doctor import examine

UNKNOWN = 54321  # no user's number

AS_ANOTHER = """
import os, pwd, sys
user = int(sys.argv.pop(1))
if user != os.getuid():
    os.setgid(user)
    os.setuid(user)
def unknown(_):
    raise KeyError("uid not found")
pwd.getpwuid = unknown
from dit_serve.service.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("DIT_CACHE", *caches.LIBRARIES):
        monkeypatch.setenv(variable, "of the test")  # so that it is afterwards what it was, whatever the test does
        monkeypatch.delenv(variable)
    monkeypatch.setattr(caches, "home_cache_folder", lambda: None)
    monkeypatch.setattr(caches, "cache_folder", lambda: tmp_path / "own")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_with_a_home_nothing_is_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(caches, "home_cache_folder", lambda: tmp_path)
    environment: dict[str, str] = {}
    assert settle_caches(environment) == ""
    assert environment == {}


def test_without_one_every_cache_has_a_place_and_it_is_said(homeless: Path) -> None:
    environment = {"TRITON_CACHE_DIR": "/chosen"}
    said = settle_caches(environment)
    assert said.endswith(f"caches are in {homeless / 'own'}: set DIT_CACHE to a folder that lasts")
    assert environment == {
        "HF_HOME": str(homeless / "own" / "huggingface"),
        "TRITON_CACHE_DIR": "/chosen",
        "TORCHINDUCTOR_CACHE_DIR": str(homeless / "own" / "inductor"),
    }
    assert settle_caches({"DIT_CACHE": "/mine"}) == ""


def test_a_cache_that_was_filled_beforehand_is_left(homeless: Path) -> None:
    (homeless / ".cache" / "huggingface").mkdir(parents=True)
    environment: dict[str, str] = {}
    settle_caches(environment)
    assert "HF_HOME" not in environment


def test_the_doctor_alone_has_no_line_before_its_own(homeless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, is_said in (("info", True), ("doctor", False)):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert ("caches are in" in capsys.readouterr().err) == is_said


def test_no_place_at_all_is_a_sentence(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> Path:
        raise CheckpointError("/tmp/x: would be the cache, but is open to others: set DIT_CACHE")

    monkeypatch.setattr(caches, "cache_folder", none)
    assert main(["info", "digits-64"]) == 2
    assert capsys.readouterr().err.startswith("dit info: /tmp/x: would be the cache")


def test_the_doctor_says_that_such_a_cache_does_not_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dit_serve.models.checkpoints import cache

    monkeypatch.delenv("DIT_CACHE", raising=False)
    monkeypatch.setattr(cache, "home_cache_folder", lambda: None)
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)
    found = [each for each in examine({"DIT_PORT": "0", "DIT_METRICS_PORT": "0"}, {}) if each.name == "cache"]
    assert (found[0].is_well, found[0].mend) == (True, "export DIT_CACHE=FOLDER")
    assert "lasts no longer than temporary files" in found[0].what


def may_be_another() -> bool:
    """Whether this test can become another user, who can still read the interpreter and this project."""
    needed = [place for each in (sys.base_prefix, sys.prefix, __file__) for place in Path(each).resolve().parents]
    return os.getuid() == 0 and all(place.stat().st_mode & 0o005 == 0o005 for place in needed)


@pytest.mark.parametrize("home", [None, "/"])
def test_a_user_that_nobody_knows_makes_an_image(home: str | None) -> None:
    user = UNKNOWN if may_be_another() else os.getuid()
    if home == "/" and os.getuid() == user == 0:
        pytest.skip("/ is shut to other users alone, and these cannot read the interpreter or this project")
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME", "DIT_CACHE")}
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)
        environment = {**kept, "TMPDIR": place} if home is None else {**kept, "TMPDIR": place, "HOME": home}
        flags = ["generate", "--class-id", "7", "--steps", "1", "--out", place]
        command = [sys.executable, "-c", AS_ANOTHER, str(user), *flags]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert ended.returncode == 0, ended.stderr
        assert Path(ended.stdout.strip()).is_file()
        assert ended.stderr == (
            f"dit generate: no home folder can be written, so caches are in {place}/dit-serve-{user}: "
            "set DIT_CACHE to a folder that lasts\n"
        )
