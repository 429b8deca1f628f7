"""A knob is written down once, as a field of ModelOptions: flags, variables, guide and worker take it from there."""

from __future__ import annotations

import argparse
from dataclasses import MISSING, Field, fields, replace
from typing import Any

import pytest

from dit_serve.models.options import ModelOptions
from dit_serve.service.cli import main
from dit_serve.service.http.server import configuration
from dit_serve.service.settings import add_flags, read_settings
from dit_serve.service.workers.process import load_all
from docs.settings_table import settings_table

OWN_TO_A_WORKER = "device"  # which `--devices` gives to each
KNOBS = [field for field in fields(ModelOptions) if field.name != OWN_TO_A_WORKER]
BY_NAME = pytest.mark.parametrize("field", KNOBS, ids=[field.name for field in KNOBS])


def other_value(field: Field[Any]) -> Any:
    """A value that is not the default."""
    assert field.default is not MISSING
    if isinstance(field.default, bool):
        return not field.default
    if "ge" in field.metadata:
        return int(field.metadata["ge"]) + 1
    return field.metadata.get("choices", ("other",))[0]


def flag(field: Field[Any]) -> str:
    return f"--{field.name.replace('_', '-')}"


class Loaded(Exception):
    """Ends a command as soon as it loads a model."""


@pytest.fixture
def asked_of_loader(monkeypatch: pytest.MonkeyPatch) -> list[ModelOptions]:
    asked: list[ModelOptions] = []

    def load(model: str, options: ModelOptions) -> None:
        asked.append(options)
        raise Loaded

    monkeypatch.setattr("dit_serve.models.pipeline.load_pipeline", load)
    return asked


@BY_NAME
def test_serve_takes_it_as_flag_and_as_variable_and_tells_the_worker(field: Field[Any]) -> None:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    value = other_value(field)
    by_flag = read_settings({}, vars(parser.parse_args([flag(field), str(value)])))
    by_variable = read_settings({f"DIT_{field.name.upper()}": str(value)}, {})
    assert by_flag.options == by_variable.options == replace(ModelOptions(), **{field.name: value})
    assert configuration(by_flag).options == by_flag.options


def test_the_worker_loads_with_what_it_is_told() -> None:
    asked = []

    def load(model: str, options: ModelOptions) -> Any:
        asked.append(options)
        raise Loaded

    told = replace(configuration(read_settings({"DIT_DTYPE": "float16"}, {})), models=("a",))
    with pytest.raises(Loaded):
        load_all(told, load, lambda message: None)
    assert asked == [ModelOptions(dtype="float16")]


@BY_NAME
def test_generate_takes_it_as_a_flag(field: Field[Any], asked_of_loader: list[ModelOptions]) -> None:
    value = other_value(field)
    negated = f"--no-{flag(field)[2:]}" if value is False else flag(field)
    given = [negated] if isinstance(value, bool) else [flag(field), str(value)]
    with pytest.raises(Loaded):
        main(["generate", "--class-id", "1", *given])
    assert asked_of_loader == [replace(ModelOptions(), **{field.name: value})]


@BY_NAME
def test_the_guide_tells_of_it(field: Field[Any]) -> None:
    (row,) = [line for line in settings_table().splitlines() if line.startswith(f"| `DIT_{field.name.upper()}` |")]
    assert field.metadata["help"] in row


def test_the_device_is_a_flag_of_generate_alone(asked_of_loader: list[ModelOptions]) -> None:
    with pytest.raises(Loaded):
        main(["generate", "--class-id", "1", "--device", "cpu"])
    assert asked_of_loader == [ModelOptions(device="cpu")]
    with pytest.raises(SystemExit):
        main(["serve", "--device", "cpu"])


@pytest.mark.parametrize("value", [-1, (1 << 40) + 1])
def test_python_meets_the_same_bounds_as_an_operator(value: int) -> None:
    with pytest.raises(ValueError, match=rf"modulation_cache_bytes must be 0 to {1 << 40}, got {value}"):
        ModelOptions(modulation_cache_bytes=value)
