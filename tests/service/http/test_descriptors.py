"""The share of connections in the limit of open files."""

from __future__ import annotations

import resource

import pytest

from dit_serve.service.errors import StartError
from dit_serve.service.http import descriptors
from dit_serve.service.http.descriptors import USEFUL, raise_limit, shares
from dit_serve.service.http_limits import DEFAULT_CONNECTIONS, HttpLimits

OPEN = 14  # of a process that has begun to listen


@pytest.fixture(autouse=True)
def _opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors.os, "listdir", lambda _: ["a descriptor"] * (OPEN + 1))


@pytest.mark.parametrize("limit", [64, 100, 256, 1024, 4096, 65_536, 1 << 20])
def test_connections_leave_descriptors_for_everything_else(limit: int) -> None:
    service, metrics = shares(HttpLimits(), limit, workers=2)
    kept = limit - sum(bounds.in_all + bounds.surplus for bounds in (service, metrics))
    assert kept >= OPEN + 20
    assert 4 <= service.in_all <= DEFAULT_CONNECTIONS
    assert service.of_peer == service.in_all * 3 // 4
    assert service.in_all > limit // 4 or service.in_all == DEFAULT_CONNECTIONS


def test_the_operators_word_counts_as_far_as_the_limit_allows() -> None:
    service, _ = shares(HttpLimits(max_connections=500, max_connections_per_peer=500), 1024, workers=2)
    assert (service.in_all, service.of_peer) == (500, 500)
    with pytest.raises(StartError, match="for the 1000 of max_connections: raise ulimit -n to 1"):
        shares(HttpLimits(max_connections=1000), 1024, workers=2)


def test_a_limit_that_leaves_no_connections_is_an_error() -> None:
    with pytest.raises(StartError, match="0 connections beside 40 workers, too few: raise ulimit -n"):
        shares(HttpLimits(), 64, workers=40)


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "then"),
    [
        (1024, 4096, 0, 4096),
        (1024, 1 << 30, 0, USEFUL),
        (1024, resource.RLIM_INFINITY, 0, USEFUL),
        (1024, 1 << 20, 100_000, 104_096),
        (1 << 20, 1 << 20, 0, 1 << 20),
        (64, 64, 0, 64),
    ],
)
def test_the_soft_limit_is_raised_as_far_as_is_of_use(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, asked: int, then: int
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert raise_limit(HttpLimits(max_connections=asked)) == then
    assert limits[-1] == (then, hard)
