"""All parts of the memory are in one sum, and what is left over bounds the modulations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dit_serve.service.workers.budget import (
    CACHE_BYTES,
    LEAST_CACHE_BYTES,
    LIBRARIES_BYTES,
    MAX_KERNEL_BYTES,
    STANDBY_BYTES,
    WORKER_BYTES,
    Demand,
    reckon,
)
from dit_serve.service.workers.cgroup import Memory

GIB = 1 << 30
PLENTY = Memory(64 * GIB, 60 * GIB)
DEMAND = Demand(
    models_bytes=15 << 20, models=2, batch_bytes=80 << 20, places=512, place_bytes=100 << 10, connections=1000,
    request_bytes=48 << 10,
)  # fmt: skip


def test_the_total_is_the_sum_of_what_the_log_tells() -> None:
    told = reckon(DEMAND, 3, PLENTY).fields()
    shared = [told[f"{part}_bytes"] for part in ("kernel", "http", "libraries", "standby")]
    each = [told[f"{part}_bytes"] for part in ("worker", "models", "batch", "cache")]
    assert told["total_bytes"] == sum(shared) + 3 * sum(each)
    assert (told["limit_bytes"], told["free_bytes"], told["limit_of"]) == (64 * GIB, 60 * GIB, "machine")


def test_models_share_what_a_worker_may_keep() -> None:
    budget = reckon(DEMAND, 2, PLENTY)
    assert (budget.cache_bytes, budget.model_cache_bytes) == (CACHE_BYTES, CACHE_BYTES // 2)


def test_modulations_get_what_is_left_over_and_a_little_in_any_case() -> None:
    fixed = reckon(DEMAND, 2, PLENTY).total_bytes - 2 * CACHE_BYTES
    tight = replace(PLENTY, free_bytes=fixed + 2 * (40 << 20))
    assert reckon(DEMAND, 2, tight).cache_bytes == 40 << 20
    assert reckon(DEMAND, 2, tight).fits
    short = reckon(DEMAND, 2, replace(PLENTY, free_bytes=fixed))
    assert (short.cache_bytes, short.fits) == (LEAST_CACHE_BYTES, False)


def test_the_operators_word_on_modulations_is_kept_and_added_up() -> None:
    asked = replace(DEMAND, model_cache_bytes=GIB)
    budget = reckon(asked, 2, PLENTY)
    assert (budget.model_cache_bytes, budget.cache_bytes) == (GIB, 2 * GIB)
    assert budget.total_bytes > 4 * GIB
    assert not reckon(asked, 2, Memory(4 * GIB, 4 * GIB, is_bounded=True)).fits


def test_what_is_on_a_card_takes_no_memory_of_the_machine() -> None:
    budget = reckon(replace(DEMAND, on_card=True), 1, PLENTY)
    assert (budget.models_bytes, budget.batch_bytes, budget.cache_bytes, budget.model_cache_bytes) == (0, 0, 0, None)
    assert budget.each_worker_bytes == WORKER_BYTES


def test_a_longer_queue_larger_bodies_and_a_standby_take_more() -> None:
    base = reckon(DEMAND, 1, PLENTY)
    assert reckon(replace(DEMAND, places=1024), 1, PLENTY).http_bytes > base.http_bytes
    assert reckon(replace(DEMAND, place_bytes=1 << 20), 1, PLENTY).http_bytes > base.http_bytes
    assert base.total_bytes - reckon(replace(DEMAND, keeps_standby=False), 1, PLENTY).total_bytes == STANDBY_BYTES


def test_libraries_count_once_and_the_kernels_share_is_bounded() -> None:
    one, two = (reckon(DEMAND, workers, PLENTY) for workers in (1, 2))
    assert two.total_bytes - one.total_bytes == one.each_worker_bytes
    assert one.libraries_bytes == two.libraries_bytes == LIBRARIES_BYTES
    assert one.kernel_bytes == MAX_KERNEL_BYTES
    assert reckon(DEMAND, 1, Memory(GIB, GIB)).kernel_bytes == GIB // 16


@pytest.mark.parametrize(("workers", "words"), [(1, "1 worker of 0."), (2, "2 workers of 0.")])
def test_the_sentence_names_the_limit_and_what_takes_something(workers: int, words: str) -> None:
    sentence = reckon(replace(DEMAND, keeps_standby=False), workers, Memory(4 * GIB, 3 * GIB, True)).sentence()
    assert sentence.startswith("3.22 GB of the container's 4.29 GB free, ")
    assert words in sentence
    assert "standby" not in sentence
    assert reckon(DEMAND, 9, Memory(GIB, GIB)).sentence().startswith("too little: 1.07 GB of the machine's")


def test_half_sent_requests_of_all_connections_are_in_the_sum() -> None:
    twice = reckon(replace(DEMAND, connections=2 * DEMAND.connections), 2, PLENTY)
    more = twice.http_bytes - reckon(DEMAND, 2, PLENTY).http_bytes
    assert more >= DEMAND.connections * DEMAND.request_bytes
