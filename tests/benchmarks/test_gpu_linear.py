"""The section of the linear layers' ways, on ways that are made up: what each row says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu import linear
from benchmarks.gpu.bench import Bench, ceilings
from benchmarks.gpu.sections import Row


class Way(NamedTuple):
    name: str
    takes: Callable[[Tensor, Tensor, str], bool]
    product: Callable[..., Tensor]


def always(x: Tensor, weight: Tensor, epilogue: str) -> bool:
    return True


def plain(x: Tensor, weight: Tensor, bias: Tensor, epilogue: str) -> Tensor:
    """Row by row, so that no row's bits depend on another."""
    y = torch.stack([F.linear(row, weight, bias) for row in x.flatten(0, 1)]).unflatten(0, x.shape[:2])
    return F.gelu(y, approximate="tanh") if epilogue == "gelu_tanh" else y


def of_the_batch(x: Tensor, weight: Tensor, bias: Tensor, epilogue: str) -> Tensor:
    return plain(x, weight, bias, epilogue) * (1.0 + 1e-5 * len(x))


def broken(*arguments: object) -> Tensor:
    raise RuntimeError("out of shared memory\nand more")


def in_float8(x: Tensor, x_scales: Tensor, weight: Tensor, weight_scales: Tensor, bias: Tensor) -> Tensor:
    y = F.linear(x.float(), weight.float()) * x_scales[..., None] * weight_scales
    return (y + bias).to(bias.dtype)


@pytest.fixture
def starved() -> Mock:
    return Mock()


@pytest.fixture
def rows(starved: Mock, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    long = bench.scale.model.heads * bench.scale.model.head_size * 4
    ways = SimpleNamespace(
        WHOLE=(Way("first", always, plain), Way("second", always, plain), Way("uneven", always, of_the_batch)),
        LONG=(Way("only", lambda x, weight, epilogue: x.shape[-1] == long, plain),),
        BLAS=(Way("broken", always, broken),),
        FLOAT8_WHOLE=(Way("first", lambda x, weight, _: x.dtype == weight.dtype == torch.float8_e4m3fn, in_float8),),
        CAPABILITY=(8, 9),
        starve_cublaslt=starved,
    )
    monkeypatch.setattr(linear, "linear_ways", ways)
    list(ceilings(bench, ""))
    return list(linear.rows(bench, ""))


def way(row: Row) -> str:
    return f"{row['family']} {row['way']}"


def test_there_is_a_row_a_layer_number_of_rows_and_way_that_takes_it(starved: Mock, rows: list[Row]) -> None:
    ways = ["whole first", "whole second", "whole uneven", "blas broken", "float8_whole first"]
    expected = {(layer, count, way) for layer in ("qkv", "proj", "fc1", "fc2") for count in (32, 16) for way in ways}
    expected |= {("fc2", count, "long only") for count in (32, 16)}
    assert {(row["layer"], row["rows"], way(row)) for row in rows} == expected
    assert len(rows) == len(expected)
    starved.assert_called_once_with()


def test_a_row_has_its_speed_and_its_share_of_the_ceiling(bench: Bench, rows: list[Row]) -> None:
    row = next(row for row in rows if row["layer"] == "fc1")
    width = bench.scale.model.heads * bench.scale.model.head_size
    assert row["tflops"] == pytest.approx(2e-6 * row["rows"] * width * 4 * width / row["us"])
    assert row["share"] == pytest.approx(row["tflops"] / bench.largest["TFLOP/s"])


def test_the_error_is_that_against_float64_of_the_same_numbers(rows: list[Row]) -> None:
    errors = {way(row): row["error"] for row in rows if row["layer"] == "fc2" and "error" in row}
    assert all(0 < errors[way] < 1e-6 for way in ("whole first", "float8_whole first"))
    assert errors["whole uneven"] == pytest.approx(1e-5, rel=0.1)


def test_ways_of_equal_bits_share_a_letter(rows: list[Row]) -> None:
    letters = {(way(row), row["rows"]): row["bits"] for row in rows if row["layer"] == "proj" and "bits" in row}
    assert letters == {
        ("whole first", 32): "a", ("whole second", 32): "a", ("whole uneven", 32): "b", ("float8_whole first", 32): "a",
        ("whole first", 16): "a", ("whole second", 16): "a", ("whole uneven", 16): "c", ("float8_whole first", 16): "a",
    }


def test_a_way_whose_bits_depend_on_the_rows_is_told(rows: list[Row]) -> None:
    same = {(way(row), row["is_same_alone"]) for row in rows if row["rows"] == 32 and "bits" in row}
    assert {("whole first", True), ("whole uneven", False)} <= same
    assert ("whole first", False) not in same


def test_a_way_that_fails_costs_its_own_rows_alone(rows: list[Row]) -> None:
    failed = [row for row in rows if "failed" in row]
    assert {way(row) for row in failed} == {"blas broken"}
    assert {row["failed"] for row in failed} == {"RuntimeError: out of shared memory"}
