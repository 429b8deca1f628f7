"""A checkpoint is replaced on disk while it is served: what is served stays what was loaded first."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from dit_serve.service.front.weights import why_other
from tests.service.fake import SLOW, FakeDoor
from tests.service.front.test_front import post, two_workers
from tests.service.http.test_app import assert_problem
from tests.service.running import PATIENCE_SECONDS, Running, running

SERVED = {"fake-64": FakeDoor("fake-64").info}
ENDLESS = {"class_id": SLOW, "steps": 1000, "n": 2}


def test_the_same_models_on_another_device_are_no_others() -> None:
    assert why_other(SERVED, {"fake-64": FakeDoor("fake-64", "fake:1").info}) == ""


def test_the_first_models_loaded_are_the_ones_that_are_served() -> None:
    assert why_other({}, SERVED) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "ab" * 32}, "(SHA-256 abababababab…, served is 000000000000…)"),
        ({"num_classes": 7}, "the files of fake-64 have changed since it was loaded: put its files back"),
        ({"rest_sha256": "cd" * 32}, "the files of fake-64 have changed since it was loaded: put its files back"),
    ],
)
def test_other_weights_are_told_by_their_sum_and_what_to_do(change: dict[str, Any], said: str) -> None:
    assert said in why_other(SERVED, {"fake-64": replace(SERVED["fake-64"], **change)})


def test_another_build_is_told_by_its_parts_that_differ_and_what_to_do() -> None:
    served = replace(SERVED["fake-64"], build=("torch 2.13.0", "numpy 2.4.6", "NVIDIA H200 9.0"))
    found = replace(served, build=("torch 2.12.1", "numpy 2.4.6", "NVIDIA A100-SXM4-80GB 8.0"))
    sentence = why_other({"fake-64": served}, {"fake-64": found})
    assert "it computes by torch 2.12.1, NVIDIA A100-SXM4-80GB 8.0" in sentence
    assert "and the others by torch 2.13.0, NVIDIA H200 9.0: give all workers devices of one kind" in sentence
    assert "numpy" not in sentence
    assert "files" not in sentence
    assert "by less, and the others by torch 2.13.0" in why_other(
        {"fake-64": served}, {"fake-64": replace(served, build=served.build[1:])}
    )


def metric(server: Running, name: str) -> float:
    port = server.find("metrics_listening")[0]["port"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def refused(server: Running) -> dict[str, Any]:
    return server.wait_for(lambda line: "is not used" in str(line.get("message")))


def test_a_worker_that_loads_other_weights_is_kept_out_and_with_no_other_left_everybody_is_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("aa" * 32)
    pids: dict[int, int] = {}

    def wait_until_up(worker: int) -> None:
        line = server.wait_for(lambda line: (line.get("event"), line.get("worker")) == ("ready", worker), since=0)
        pids[worker] = line["worker_pid"]

    with running(two_workers(models=f"read-64:{weights}"), until_ready=False) as server, ThreadPoolExecutor(4) as pool:
        for worker in (0, 1):
            wait_until_up(worker)
        weights.write_text("bb" * 32)
        os.kill(pids[1], signal.SIGKILL)
        line = refused(server)
        assert line["level"] == "error"
        assert "SHA-256 bbbbbbbbbbbb…, served is aaaaaaaaaaaa…" in line["message"]
        server.wait_for_event("worker_ended")
        with server.client() as client:
            ready = client.get("/readyz")
        assert (ready.status_code, list(ready.json()["missing"])) == (200, ["worker 1 (fake:1)"])
        assert "put its files back" in ready.json()["missing"]["worker 1 (fake:1)"]
        assert str(tmp_path) not in ready.text
        assert metric(server, 'dit_worker_refused{worker="1"}') == 1
        assert post(server, {"class_id": 1}).status_code == 200

        weights.write_text("aa" * 32)
        assert server.wait_for_event("ready")["worker"] == 1
        assert metric(server, 'dit_worker_refused{worker="1"}') == 0

        weights.write_text("bb" * 32)
        answers: list[Future[httpx.Response]] = [
            pool.submit(post, server, ENDLESS, Accept=accept) for accept in ("application/json", "text/event-stream")
        ]
        for _ in range(4):
            server.wait_for_event("job_started")
        for pid in (pids[0], server.find("ready")[-1]["worker_pid"]):
            os.kill(pid, signal.SIGKILL)
        plain, stream = (answer.result(PATIENCE_SECONDS) for answer in answers)
        assert_problem(plain, 503, "shutting-down")
        assert "event: failed" in stream.text.split("\n\n")[-2]
        assert server.finish() == 2
        (tally,) = server.find("tally")
        assert (tally["failed"], tally["cancelled"], tally["under_way"]) == (2, 0, 0)
        (sentence,) = [line["message"] for line in server.seen if str(line.get("message")).startswith("dit serve:")]
        assert "the files of read-64 have changed since it was loaded" in sentence
