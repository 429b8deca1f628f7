"""Flags made from dataclasses, and that both training configurations can be made so."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from dit_serve.models.training.autoencoder import AutoencoderConfig
from dit_serve.models.training.dit import TrainingConfig
from dit_serve.service.commands.dataclass_flags import add_flags, read_config
from dit_serve.service.errors import CommandError


@dataclass(frozen=True, slots=True)
class Example:
    out: Path
    name: str = "a"
    rate: float = 0.5
    widths: tuple[int, ...] = (1, 2)
    start: Path | None = None
    is_mirrored: bool = False

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
    flags = "--out x --name b --rate 1e-3 --widths 3,4,5 --start y --is-mirrored".split()
    assert parse(Example, *flags) == Example(Path("x"), "b", 1e-3, (3, 4, 5), Path("y"), True)


@pytest.mark.parametrize("arguments", [[], ["--out", "x", "--rate", "fast"], ["--out", "x", "--widths", "1,b"]])
def test_wrong_values_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Example, *arguments)


def test_a_value_that_the_configuration_refuses_is_told() -> None:
    with pytest.raises(CommandError, match=r"rate must not be negative, got -1\.0"):
        parse(Example, "--out", "x", "--rate=-1")


@pytest.mark.parametrize("config", [TrainingConfig, AutoencoderConfig])
def test_every_field_of_the_trainings_has_its_flag(config: type[Any]) -> None:
    required = [field.name for field in fields(config) if field.default is MISSING]
    arguments = [text for name in required for text in (f"--{name.replace('_', '-')}", "x")]
    assert parse(config, *arguments) == config(**{name: Path("x") for name in required})
