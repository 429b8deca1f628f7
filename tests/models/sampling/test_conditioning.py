"""Modulations are the same numbers wherever they are computed, and take no more memory than allowed."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.sampling.conditioning import EMPTY_ROW, TILE, Conditioning, default_budget

CONFIG = DiTConfig(input_size=8, hidden_size=48, depth=2, num_heads=4, num_classes=10)
ROW_BYTES = (6 * 2 + 2) * 48 * 4
SHORT, LONG = (900, 600, 300, 0), tuple(range(990, 0, -30))
MOST = 40
REST_BYTES = 100 * ROW_BYTES  # of the tests, so that a little is too much
BOTH_WAYS = pytest.mark.parametrize("is_ahead", [True, False], ids=["ahead", "in the steps"])


@pytest.fixture
def model() -> DiT:
    model = DiT(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> None:
    """At rest little is kept."""
    monkeypatch.setattr("dit_serve.models.sampling.conditioning.REST_BYTES", REST_BYTES)


def fetched(conditioning: Conditioning, wanted: Sequence[tuple[int, tuple[int, ...], int]]) -> torch.Tensor:
    """The modulations as a step gathers them."""
    return conditioning.pool[conditioning.rows(wanted)]


def walk(conditioning: Conditioning, classes: Sequence[int]) -> None:
    """Goes through all LONG steps of each class."""
    for y in classes:
        conditioning.prepare(y, LONG)
        for i in range(len(LONG)):
            conditioning.rows([(y, LONG, i)])


def resident_bytes(pool: torch.Tensor) -> int:
    """What of a tensor's memory the system has given, in whole pages: mincore(2)."""
    begin = pool.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    length = pool.data_ptr() + pool.nbytes - begin
    pages = (ctypes.c_ubyte * -(-length // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(begin), ctypes.c_size_t(length), pages) == 0
    return sum(page & 1 for page in pages) * mmap.PAGESIZE


def test_a_prepared_table_holds_what_the_model_computes(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 20, MOST, is_ahead=True)
    conditioning.prepare(7, LONG)
    rows = fetched(conditioning, [(7, LONG, 3), (7, LONG, 32)])
    expected = model.modulations(torch.tensor([LONG[3], LONG[32]]), torch.tensor([7, 7]))
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)  # float32, another number of rows


@BOTH_WAYS
def test_rows_are_bitwise_the_same_from_a_table_and_from_the_step(model: DiT, is_ahead: bool) -> None:
    prepared = Conditioning(model, 1 << 20, MOST, is_ahead=is_ahead)
    bare = Conditioning(model, 0, MOST, is_ahead=is_ahead)
    wanted = [(y, LONG, i) for i, y in enumerate(torch.randint(0, 11, (len(LONG),)).tolist())]
    for y in range(11):
        prepared.prepare(y, LONG)
        bare.prepare(y, LONG)
    together = fetched(prepared, wanted)
    assert bare.held_bytes == 0
    assert torch.equal(fetched(bare, wanted), together)
    assert torch.equal(torch.cat([fetched(bare, [one]) for one in wanted]), together)


def test_rows_prepared_and_not_may_be_asked_for_together(model: DiT) -> None:
    conditioning, bare = Conditioning(model, 1 << 20, MOST, is_ahead=True), Conditioning(model, 0, MOST, is_ahead=True)
    conditioning.prepare(3, SHORT)
    wanted = [(5, SHORT, 0), (3, SHORT, 1), (5, LONG, 2), (3, SHORT, 2)]
    assert torch.equal(fetched(conditioning, wanted), fetched(bare, wanted))


def test_rows_found_and_rows_computed_are_counted(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 20, MOST, is_ahead=True)
    conditioning.prepare(3, SHORT)
    for wanted in ([(5, SHORT, 0), (3, SHORT, 1), (3, SHORT, 2)], [(3, SHORT, 3)]):
        conditioning.rows(wanted)
    assert (conditioning.hits, conditioning.misses) == (3, 1)


def test_one_table_serves_all_samples_of_a_class_and_schedule(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 20, MOST, is_ahead=True)
    for _ in range(3):
        conditioning.prepare(10, SHORT)
    assert conditioning.held_bytes == len(SHORT) * ROW_BYTES


def test_the_least_recently_used_table_goes_first_and_the_budget_holds(model: DiT) -> None:
    conditioning = Conditioning(model, 2 * len(SHORT) * ROW_BYTES, MOST, is_ahead=True)
    for y in (1, 2, 1, 3):
        conditioning.prepare(y, SHORT)
    assert conditioning.held_bytes == 2 * len(SHORT) * ROW_BYTES
    conditioning.rows([(1, SHORT, 0), (3, SHORT, 3), (2, SHORT, 0)])
    assert (conditioning.hits, conditioning.misses) == (2, 1)


def test_a_table_that_a_step_has_asked_for_outlives_one_that_none_has(model: DiT) -> None:
    conditioning = Conditioning(model, 2 * len(SHORT) * ROW_BYTES, MOST, is_ahead=True)
    for y in (1, 2):
        conditioning.prepare(y, SHORT)
    conditioning.rows([(1, SHORT, 0)])
    conditioning.prepare(3, SHORT)
    conditioning.rows([(1, SHORT, 1), (2, SHORT, 1), (3, SHORT, 0)])
    assert (conditioning.hits, conditioning.misses) == (3, 1)


def test_by_default_tables_take_an_eighth_of_a_gibibyte_or_a_fiftieth_of_a_card(
    model: DiT, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = SimpleNamespace(total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {torch.device("cuda", 1): card}.__getitem__)
    assert default_budget(torch.device("cuda", 1)) == int(1.6 * (1 << 30))
    assert default_budget(torch.device("cpu")) == 128 << 20
    assert len(Conditioning(model, None, MOST, is_ahead=True).pool) == 1 + MOST + (128 << 20) // ROW_BYTES


def test_tables_that_come_and_go_leave_the_others_as_they_are(model: DiT) -> None:
    conditioning = Conditioning(model, 60 * ROW_BYTES, MOST, is_ahead=True)
    bare = Conditioning(model, 0, MOST, is_ahead=True)
    for y, timesteps in [(1, LONG), (2, SHORT), (3, SHORT), (4, LONG), (5, SHORT), (2, SHORT), (6, LONG), (7, SHORT)]:
        conditioning.prepare(y, timesteps)
        assert conditioning.held_bytes <= 60 * ROW_BYTES
    wanted = [(y, timesteps, i) for y in range(8) for timesteps in (SHORT, LONG) for i in (0, 3)]
    assert torch.equal(fetched(conditioning, wanted), fetched(bare, wanted))
    assert 0 < conditioning.misses < len(wanted)


def test_a_table_larger_than_the_budget_is_not_kept(model: DiT) -> None:
    conditioning = Conditioning(model, len(LONG) * ROW_BYTES - 1, MOST, is_ahead=True)
    conditioning.prepare(1, SHORT)
    conditioning.prepare(1, LONG)
    assert conditioning.held_bytes == len(SHORT) * ROW_BYTES


def test_the_pool_stays_where_it_is_and_its_empty_row_empty(model: DiT) -> None:
    conditioning = Conditioning(model, 20 * ROW_BYTES, MOST, is_ahead=True)
    before = conditioning.pool.data_ptr()
    for y in range(10):
        conditioning.prepare(y, SHORT)
        conditioning.rows([(y, LONG, i) for i in range(20)])
    assert conditioning.pool.data_ptr() == before
    assert not conditioning.pool[EMPTY_ROW].any()


def test_in_the_steps_a_tile_is_computed_when_its_first_step_is_reached(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 20, MOST, is_ahead=False)
    bare = Conditioning(model, 0, MOST, is_ahead=False)
    conditioning.prepare(1, LONG)
    assert conditioning.held_bytes == 0
    for i in range(len(LONG)):
        wanted = [(1, LONG, i), (2, LONG, i), (1, LONG, i)]
        assert torch.equal(fetched(conditioning, wanted), fetched(bare, wanted))
        assert conditioning.held_bytes == 2 * min(len(LONG), i - i % TILE + TILE) * ROW_BYTES
    tiles = -(-len(LONG) // TILE)
    assert (conditioning.hits, conditioning.misses) == (3 * (len(LONG) - tiles), 3 * tiles)


def test_tiles_of_one_step_displace_others_and_never_each_other(model: DiT) -> None:
    budget = 3 * TILE * ROW_BYTES
    conditioning = Conditioning(model, budget, MOST, is_ahead=False)
    bare = Conditioning(model, 0, MOST, is_ahead=False)
    for step in ([(1, LONG, 0), (2, LONG, 0)], [(y, LONG, 1) for y in range(2, 9)], [(y, SHORT, 2) for y in range(9)]):
        for _ in range(2):
            assert torch.equal(fetched(conditioning, step), fetched(bare, step))
            assert conditioning.held_bytes <= budget


@BOTH_WAYS
def test_a_product_that_fails_takes_no_row_away(
    model: DiT, is_ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditioning = Conditioning(model, len(LONG) * ROW_BYTES, MOST, is_ahead=is_ahead)
    with monkeypatch.context() as broken:
        broken.setattr(conditioning, "compute", lambda timesteps, classes: 1 / 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                walk(conditioning, [1])
    walk(conditioning, [1])
    assert conditioning.held_bytes == len(LONG) * ROW_BYTES


@pytest.mark.usefixtures("resting")
@BOTH_WAYS
def test_at_rest_what_was_used_last_is_kept_and_goes_on_with_the_same_bits(model: DiT, is_ahead: bool) -> None:
    conditioning = Conditioning(model, 1 << 20, MOST, is_ahead=is_ahead)
    bare = Conditioning(model, 0, MOST, is_ahead=False)
    walk(conditioning, range(10))
    conditioning.rest()
    assert REST_BYTES - len(LONG) * ROW_BYTES < conditioning.held_bytes <= REST_BYTES
    misses = conditioning.misses
    last = [(9, LONG, len(LONG) - 1)]
    assert torch.equal(fetched(conditioning, last), fetched(bare, last))
    assert conditioning.misses == misses
    wanted = [(y, LONG, 7) for y in range(10)]
    assert torch.equal(fetched(conditioning, wanted), fetched(bare, wanted))
    assert not conditioning.pool[EMPTY_ROW].any()
    walk(conditioning, range(10))
    assert torch.equal(fetched(conditioning, wanted), fetched(bare, wanted))


@pytest.mark.usefixtures("resting")
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux which pages are in memory")
def test_at_rest_the_memory_of_what_is_given_up_is_the_systems_again(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 26, MOST, is_ahead=False)
    first_rows = (1 + MOST) * ROW_BYTES
    assert resident_bytes(conditioning.pool) <= first_rows + mmap.PAGESIZE
    walk(conditioning, range(10))
    assert resident_bytes(conditioning.pool) >= conditioning.held_bytes > 2 * REST_BYTES
    conditioning.rest()
    assert resident_bytes(conditioning.pool) <= REST_BYTES + first_rows + mmap.PAGESIZE


@pytest.mark.usefixtures("resting")
def test_at_rest_little_stays_as_it_is(model: DiT) -> None:
    conditioning = Conditioning(model, 1 << 25, MOST, is_ahead=False)
    conditioning.rows([(1, LONG, 0)])
    pool = conditioning.pool
    conditioning.rest()
    assert conditioning.pool is pool
    assert conditioning.held_bytes == TILE * ROW_BYTES


@pytest.mark.parametrize("count", [1, TILE - 1, TILE, TILE + 1, 3 * TILE])
def test_any_number_of_rows_can_be_computed(model: DiT, count: int) -> None:
    rows = Conditioning(model, 0, MOST, is_ahead=True).compute(list(range(count)), [1] * count)
    assert rows.shape == (count, 14, 48)
