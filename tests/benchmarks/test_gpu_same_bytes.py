"""The section that compares images byte by byte through the service, whose worker it kills."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

import pytest
import torch

from benchmarks.bench_quality import trained_and_random
from benchmarks.gpu import same_bytes
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.same_bytes import Images, MixedAsk, images_of, mixed_asks, replaced
from benchmarks.gpu.sections import Row
from benchmarks.gpu.served import Server
from benchmarks.load import Answer, Trace
from dit_serve.models.sampling.sampler import SAMPLERS

ENDED = {"event": "worker_ended", "how": "killed by SIGKILL"}
OTHER = {"event": "ready", "worker_pid": 8}
AGAIN = {"event": "job_end", "outcome": "completed", "crashes": 1}


def test_no_image_differs_though_the_worker_is_killed(bench: Bench) -> None:
    *images, killed = same_bytes.rows(bench, "")
    same = {"compared": 2, "differing": 0, "lost": 0}
    models = ("random-64", "random-128")
    assert images == [{"model": model, "sampler": sampler, **same} for model in models for sampler in SAMPLERS]
    assert killed["is_replaced"] is True
    assert killed["made_again"] >= 1


def test_what_the_service_needs_and_is_not_there_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvloop" else find(name))
    with pytest.raises(ModuleNotFoundError, match=r"^the service needs uvloop$"):
        next(same_bytes.rows(bench, ""))


def test_images_that_differ_and_that_are_lost_are_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def serving(*_: object) -> Iterator[Server]:
        lines = SimpleQueue[str]()
        lines.put("")
        yield Server(0, 7, lines)

    async def spoilt(port: int, asks: Sequence[MixedAsk], clients: int, victim: int | None = None) -> Images:
        came = {ask: b"png" for ask in asks}
        first, second = (ask for ask in mixed_asks(bench) if (ask.model, ask.sampler) == ("random-128", "ddpm"))
        if victim is None:
            del came[second]
        return came if victim is None else {**came, first: b"gnp"}

    monkeypatch.setattr(same_bytes, "serving", serving)
    monkeypatch.setattr(same_bytes, "images_of", spoilt)
    *images, killed = same_bytes.rows(bench, "")
    counts = {(row["model"], row["sampler"]): (row["compared"], row["differing"], row["lost"]) for row in images}
    assert counts.pop(("random-128", "ddpm")) == (1, 1, 1)
    assert set(counts.values()) == {(2, 0, 0)}
    assert (killed["is_replaced"], killed["made_again"]) == (False, 0)


def test_the_worker_is_killed_after_a_quarter_of_the_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asks, was_alive = mixed_asks(bench), list[bool]()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:

        async def answered(port: int, ask: MixedAsk, due: float) -> Trace:
            if len(was_alive) == 3:
                assert process.wait() == -9
            was_alive.append(process.poll() is None)
            return Trace(0.0, Answer(503 if ask == asks[1] else 200, {}, b"png"))

        monkeypatch.setattr(same_bytes, "ask_one", answered)
        assert list(asyncio.run(images_of(0, asks, clients=1, victim=process.pid))) == [asks[0], *asks[2:]]
    assert was_alive == [True] * 3 + [False] * 9
    assert "Answer(status=503" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ([ENDED, OTHER, AGAIN, {**AGAIN, "crashes": 0}, AGAIN], (True, 2)),
        ([ENDED, OTHER, {**AGAIN, "outcome": "failed"}], (True, 0)),
        ([{**AGAIN, "crashes": 0}], (False, 0)),
        ([ENDED], (False, 0)),
        ([OTHER], (False, 0)),
        ([ENDED, {**OTHER, "worker_pid": 7}], (False, 0)),
        ([ENDED, OTHER, ENDED, {**OTHER, "worker_pid": 9}], (False, 0)),  # the second of itself
        ([{**ENDED, "how": "silent for 1.5 s"}, OTHER, AGAIN], (False, 1)),
    ],
)
def test_the_log_says_whether_the_worker_was_killed_and_replaced(log: list[Row], expected: tuple[bool, int]) -> None:
    row = replaced(7, ["warming up\n", *map(json.dumps, log)])
    assert (row["is_replaced"], row["made_again"]) == expected


def test_the_requests_of_a_card_are_two_hundred_mixed_ones() -> None:
    asks = mixed_asks(Bench(torch.device("cuda"), Path("nowhere"), 0.0))
    assert len(set(asks)) == 200
    assert Counter(ask.model for ask in asks) == {"random-256": 100, "random-512": 100}
    assert Counter(ask.sampler for ask in asks) == {"ddim": 68, "ddpm": 68, "dpm++": 64}
    assert {ask.steps for ask in asks} == set(range(4, 11))
    assert {ask.cfg for ask in asks} == {1.0, 1.5, 4.0}
    assert len({ask.class_id for ask in asks}) > 50


def test_a_picture_of_a_device_is_held_to_the_processors(bench: Bench) -> None:
    for model, checkpoint in trained_and_random(bench).items():
        row = same_bytes.picture(torch.device("cpu"), model, checkpoint, 5)
        assert (row["model"], row["images"], row["against"]) == (model, 1, "the processor's, float32")
        assert row["steps"] == 5
        assert row["psnr"] > 30
        assert 0 < row["largest"] < 64


def test_there_is_a_picture_of_each_model_of_fewer_steps_where_the_processor_takes_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(same_bytes, "picture", lambda device, model, checkpoint, steps: {model: steps})
    assert list(same_bytes.pictures(bench, "")) == [{"digits-64": 10}, {"random, 64 px": 4}]
