"""The command line: what it knows, and how it speaks of errors."""

from __future__ import annotations

import pytest

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
