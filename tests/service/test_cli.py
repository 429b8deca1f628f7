"""The command line: what it knows, and how it speaks of errors."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from dit_serve.service import cli
from dit_serve.service.cli import COMMANDS, main
from dit_serve.service.version import version


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: dit {command}" in capsys.readouterr().out


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == version()


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--nonsense"], ["generate"], ["serve", "--por", "1"]])
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["serve", "--port", "high"], "dit serve: --port is 'high'"),
        (["serve", "a", "--port", "0", "a"], "dit serve: models has two that are called a"),
        (["serve", "a", "--models", "b"], "dit serve: models are given both as arguments and by --models"),
        (["info", "no/such/place/at-all"], "dit info: no/such/place/at-all: "),
        (["info", "--", "-x.pt"], "dit info: ./-x.pt: no such file or folder"),
        (["info", "digts-64"], "dit info: digts-64: no such file or folder"),
        (["info", "\x1b[2J\n"], "dit info: \\x1b[2J\\n: no such file or folder"),
        (["generate", "--class", "\udcff"], "dit generate: a value is no text in UTF-8"),
        (["repro", "no-such.png"], "dit repro: no-such.png: No such file or directory"),
        (["convert", "no-such.pt"], "dit convert: no-such.pt"),
    ],
)
def test_an_error_is_one_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generte"], "dit: there is no command 'generte'; did you mean generate?"),
        (["nonsense"], "dit: there is no command 'nonsense'; there are serve, generate, "),
        (["generate", "--class-id", "7", "--setps=3"], "--setps=3; did you mean --steps?"),
        (["serve", "--prot", "1"], "dit serve: unrecognized arguments: --prot; did you mean --port?"),
        (["info", "--nonsense", "x"], "unrecognized arguments: --nonsense; see dit info --help"),
        (["generate", "--class-id", "7", "--out", "-x"], "(one that begins with - is given as --flag=-value)"),
        (["info"], "dit info: the following arguments are required: checkpoint; see dit info --help"),
        (["convert", "\x1b[2J", "--n"], "unrecognized arguments: --n"),
    ],
)
def test_a_wrong_word_is_one_sentence_with_what_was_meant(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


def raising(error: BaseException) -> Callable[[object], int]:
    def run(_: object) -> int:
        raise error

    return run


def test_ctrl_c_is_status_130_and_no_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "_run", raising(KeyboardInterrupt()))
    assert main(["info", "x"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "dit info: No space left on device: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/a\n"), "dit info: /a\\n: Permission denied: make room"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    error: OSError, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_run", raising(error))
    assert main(["info", "x"]) == 2
    assert capsys.readouterr().err.startswith(sentence)


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_run", raising(ZeroDivisionError("of ours")))
    with pytest.raises(ZeroDivisionError):
        main(["info", "x"])


def test_a_reader_that_has_gone_is_no_traceback() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    program = "import sys; from dit_serve.service import cli; cli._run = print; sys.exit(cli.main(['info', 'x']))"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(theirs)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_an_output_that_is_no_file_is_written_to_all_the_same() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["info", "digits-64"]) == 0
    assert "sha256" in out.getvalue()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_where_memory_ends_there_is_a_sentence(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_: object) -> int:
        raise error

    monkeypatch.setattr("dit_serve.service.cli._run", run)
    assert main(["info", "x"]) == 2
    assert capsys.readouterr().err == (
        "dit info: too little memory: take a smaller model, or a machine or limit with more\n"
    )
