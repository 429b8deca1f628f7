"""Modulations are the same numbers wherever they are computed, and take no more memory than allowed."""

from __future__ import annotations

import pytest
import torch

from models.conditioning import TILE, Conditioning
from models.dit import DiT, DiTConfig

CONFIG = DiTConfig(input_size=8, hidden_size=48, depth=2, num_heads=4, num_classes=10)
ROW_BYTES = (6 * 2 + 2) * 48 * 4
SHORT, LONG = (900, 600, 300, 0), tuple(range(990, 0, -30))


@pytest.fixture
def model() -> DiT:
    model = DiT(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def test_a_prepared_table_holds_what_the_model_computes(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 20)
    conditioning.prepare(7, LONG)
    rows = conditioning.rows([(7, LONG, 3), (7, LONG, 32)])
    expected = model.modulations(torch.tensor([LONG[3], LONG[32]]), torch.tensor([7, 7]))
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)  # float32, another number of rows


def test_rows_are_bitwise_the_same_from_a_table_and_from_the_step(model: DiT) -> None:
    prepared, bare = Conditioning(model, 1 << 20), Conditioning(model, 0)
    wanted = [(y, LONG, i) for i, y in enumerate(torch.randint(0, 11, (len(LONG),)).tolist())]
    for y in range(11):
        prepared.prepare(y, LONG)
        bare.prepare(y, LONG)
    together = prepared.rows(wanted)
    assert bare.held_bytes == 0
    assert torch.equal(bare.rows(wanted), together)
    assert torch.equal(torch.cat([bare.rows([one]) for one in wanted]), together)


def test_rows_prepared_and_not_may_be_asked_for_together(model: DiT) -> None:
    conditioning, bare = Conditioning(model, 1 << 20), Conditioning(model, 0)
    conditioning.prepare(3, SHORT)
    wanted = [(5, SHORT, 0), (3, SHORT, 1), (5, LONG, 2), (3, SHORT, 2)]
    assert torch.equal(conditioning.rows(wanted), bare.rows(wanted))


def test_one_table_serves_all_samples_of_a_class_and_schedule(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 20)
    for _ in range(3):
        conditioning.prepare(10, SHORT)
    assert conditioning.held_bytes == len(SHORT) * ROW_BYTES


def test_the_least_recently_used_table_goes_first_and_the_budget_holds(model: DiT) -> None:
    conditioning = Conditioning(model, 2 * len(SHORT) * ROW_BYTES)
    for y in (1, 2, 1, 3):
        conditioning.prepare(y, SHORT)
    assert conditioning.held_bytes == 2 * len(SHORT) * ROW_BYTES
    conditioning.compute = None  # type: ignore[method-assign, assignment]  # what is held needs no computation
    conditioning.rows([(1, SHORT, 0), (3, SHORT, 3)])
    with pytest.raises(TypeError):
        conditioning.rows([(2, SHORT, 0)])


def test_a_table_larger_than_the_budget_is_not_kept(model: DiT) -> None:
    conditioning = Conditioning(model, len(LONG) * ROW_BYTES - 1)
    conditioning.prepare(1, SHORT)
    conditioning.prepare(1, LONG)
    assert conditioning.held_bytes == len(SHORT) * ROW_BYTES


@pytest.mark.parametrize("count", [1, TILE - 1, TILE, TILE + 1, 3 * TILE])
def test_any_number_of_rows_can_be_computed(model: DiT, count: int) -> None:
    rows = Conditioning(model, 0).compute(list(range(count)), [1] * count)
    assert rows.shape == (count, 14, 48)
