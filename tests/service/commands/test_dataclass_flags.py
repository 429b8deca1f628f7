"""Flags made from dataclasses, and that both training configurations can be made so."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from dit_serve.models.training.autoencoder import AutoencoderConfig
from dit_serve.models.training.dit import TrainingConfig
from dit_serve.service.cli import main
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.errors import CommandError


@dataclass(frozen=True, slots=True)
class Example:
    out: Path = field(metadata={"help": "where to"})
    name: str = field(default="a", metadata={"help": "whose"})
    rate: float = field(default=0.5, metadata={"help": "share, 50% is a half"})
    widths: tuple[int, ...] = field(default=(1, 2), metadata={"help": "of the levels"})
    start: Path | None = field(default=None, metadata={"help": "where from, if anywhere."})
    is_mirrored: bool = field(default=False, metadata={"help": "turned around"})
    kind: Literal["round", "square"] = field(default="round", metadata={"help": "of which form"})

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must not be negative, got {self.rate}")


def parse(config: type[Any], *arguments: str) -> Any:
    parser = argparse.ArgumentParser()
    add_flags(parser, config)
    return read_config(config, parser.parse_args(arguments))


def test_flags_that_are_not_given_leave_the_defaults() -> None:
    assert parse(Example, "--out", "x") == Example(Path("x"))


def test_each_type_is_read() -> None:
    flags = "--out x --name b --rate 1e-3 --widths 3,4,5 --start y --is-mirrored --kind square".split()
    assert parse(Example, *flags) == Example(Path("x"), "b", 1e-3, (3, 4, 5), Path("y"), True, "square")


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse(Example, "--out=~/x", "--start=~").out == Path("/home/somebody/x")


@pytest.mark.parametrize(
    "arguments",
    [[], ["--out", "x", "--rate", "fast"], ["--out", "x", "--widths", "1,b"], ["--out", "x", "--kind", "oval"]],
)
def test_wrong_values_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Example, *arguments)


def test_a_value_that_the_configuration_refuses_is_told() -> None:
    with pytest.raises(CommandError, match=r"rate must not be negative, got -1\.0"):
        parse(Example, "--out", "x", "--rate=-1")


def test_help_is_the_sentence_and_the_default_or_that_there_is_none() -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser, Example)
    text = " ".join(parser.format_help().split())
    assert "--out OUT where to; required" in text
    assert "--rate RATE share, 50% is a half; default 0.5" in text
    assert "--widths WIDTHS of the levels; default 1,2" in text
    assert "--start START where from, if anywhere --is" in text
    assert "--is-mirrored, --no-is-mirrored turned around; default False" in text
    assert "--kind {round,square} of which form; default round" in text


@pytest.mark.parametrize(("command", "config"), [("train", TrainingConfig), ("train-autoencoder", AutoencoderConfig)])
def test_every_flag_of_the_trainings_has_a_sentence(
    command: str, config: type[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # no sentence is broken at a hyphen
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for each in fields(config):
        sentence = each.metadata["help"]
        assert len(sentence) > 5, each.name
        end = "; required" if each.default is MISSING else "" if each.default is None else "; default "
        assert f"--{each.name.replace('_', '-')}" in text
        assert f"{sentence}{end}" in text


@pytest.mark.parametrize("config", [TrainingConfig, AutoencoderConfig])
def test_every_field_of_the_trainings_has_its_flag(config: type[Any]) -> None:
    required = [field.name for field in fields(config) if field.default is MISSING]
    arguments = [text for name in required for text in (f"--{name.replace('_', '-')}", "x")]
    assert parse(config, *arguments) == config(**{name: Path("x") for name in required})
