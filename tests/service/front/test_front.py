"""What becomes of accepted jobs when workers die, clients leave and the queue is full. Real processes, fake model."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.service.fake import HANGS, KILLS, SLOW
from tests.service.http.test_app import assert_problem
from tests.service.running import PATIENCE_SECONDS, Running, fake_command, running

SLOW_JOB = {"class_id": SLOW, "steps": 50, "seed": 1}
ENDLESS_JOB = {"class_id": SLOW, "steps": 1000}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def debug(*flags: str) -> list[str]:
    return fake_command("--log-level", "debug", *flags)


def post(server: Running, body: dict[str, Any], **headers: str) -> httpx.Response:
    with server.client() as client:
        return client.post("/generate", json=body, headers=headers)


def start(server: Running, pool: ThreadPoolExecutor, body: dict[str, Any]) -> Future[httpx.Response]:
    """Sends a request and returns when the worker has started on it."""
    answer = pool.submit(post, server, body, Accept="application/json")
    server.wait_for_event("job_started")
    return answer


@contextmanager
def leaving_client(server: Running, body: dict[str, Any], accept: bytes = b"application/json") -> Iterator[None]:
    """A client whose request has been started on, and that closes its connection at the end of the block."""
    content = json.dumps(body).encode()
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), PATIENCE_SECONDS) as connection:
        headers = b"Host: x\r\nContent-Type: application/json\r\nAccept: %s\r\nContent-Length: %d"
        connection.sendall(b"POST /generate HTTP/1.1\r\n%s\r\n\r\n%s" % (headers % (accept, len(content)), content))
        server.wait_for_event("job_started")
        yield


def images(response: httpx.Response) -> list[bytes]:
    assert response.status_code == 200, response.text
    return [base64.b64decode(image["b64_png"]) for image in response.json()["images"]]


def made_alone(server: Running, body: dict[str, Any]) -> list[bytes]:
    return images(post(server, body, Accept="application/json"))


def job_end(server: Running) -> dict[str, Any]:
    return server.wait_for_event("job_end")


def times(pattern: str, text: str) -> int:
    """How often something has happened by now, by a text that says so; it may happen again at any moment."""
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1])


def test_a_killed_worker_costs_the_client_nothing_but_time(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        undisturbed = images(post(server, {**SLOW_JOB, "n": 3}, Accept="application/json"))
        server.wait_for_event("request")
        answer = start(server, pool, {**SLOW_JOB, "n": 3})
        os.kill(server.worker_pid, signal.SIGKILL)
        assert images(answer.result(PATIENCE_SECONDS)) == undisturbed
        end = job_end(server)
        assert (end["outcome"], end["crashes"]) == ("completed", 1)


def test_a_request_made_while_the_worker_is_away_is_served(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_for_event("worker_ended")
        assert post(server, {"class_id": 1}).status_code == 200


def test_a_job_that_kills_the_worker_twice_fails_alone(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        innocent = start(server, pool, {**SLOW_JOB, "n": 2})
        guilty = pool.submit(post, server, {"class_id": KILLS})
        assert_problem(guilty.result(PATIENCE_SECONDS), 500, "job-crashed")
        disturbed = images(innocent.result(PATIENCE_SECONDS))
        assert disturbed == images(post(server, {**SLOW_JOB, "n": 2}, Accept="application/json"))


def test_readyz_tells_that_the_worker_is_replaced_until_it_is() -> None:
    with running(fake_command()) as server, server.client() as client:
        os.kill(server.worker_pid, signal.SIGKILL)
        server.wait_until_ready()
        assert client.get("/readyz").status_code == 200
        assert "killed by SIGKILL" in [line.get("how") for line in server.seen]


def test_a_client_that_leaves_frees_its_places_at_the_next_step() -> None:
    with running(debug("--max-batch-sequences", "2")) as server:
        with leaving_client(server, ENDLESS_JOB):
            pass
        assert job_end(server)["outcome"] == "cancelled"
        assert post(server, {"class_id": 1}).status_code == 200


def test_a_client_that_leaves_gives_up_its_waiting_images_too() -> None:
    with running(debug("--max-batch-sequences", "2")) as server:
        with leaving_client(server, {**ENDLESS_JOB, "n": 16}):
            pass
        assert [job_end(server)["outcome"] for _ in range(16)] == ["cancelled"] * 16


def test_one_client_that_leaves_harms_no_other(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        answer = start(server, pool, SLOW_JOB)
        with leaving_client(server, ENDLESS_JOB):
            pass
        disturbed = images(answer.result(PATIENCE_SECONDS))
        assert disturbed == images(post(server, SLOW_JOB, Accept="application/json"))


def test_the_queue_is_bounded_exactly_and_says_when_to_come_back() -> None:
    with running(debug("--max-queue-sequences", "33", "--max-batch-sequences", "33")) as server:
        with leaving_client(server, {**ENDLESS_JOB, "n": 16}):  # 32 sequences
            refused = post(server, {"class_id": 1, "cfg": 2})
            problem = assert_problem(refused, 429, "queue-full")
            assert "32 of the queue's 33 places" in str(problem["detail"])
            assert int(refused.headers["retry-after"]) >= 1
            assert post(server, {"class_id": 1, "cfg": 1}).status_code == 200  # one sequence fits
        assert job_end(server)["outcome"] == "completed"
        assert [job_end(server)["outcome"] for _ in range(16)] == ["cancelled"] * 16
        assert post(server, {"class_id": 1, "cfg": 2, "n": 16}, Accept="application/json").status_code == 200


def test_more_images_than_a_batch_holds_are_made() -> None:
    with running(fake_command("--max-batch-sequences", "2")) as server:
        response = post(server, {"class_id": 1, "steps": 2, "n": 16}, Accept="application/json")
        assert len(set(images(response))) == 16


def test_a_worker_that_cannot_start_makes_readyz_say_so_and_why() -> None:
    with running(fake_command(models="flaky-64"), until_ready=False) as server, server.client() as client:
        for _ in range(5):
            server.wait_for_event("worker_ended")
        problem = assert_problem(client.get("/readyz"), 503, "not-ready")
        assert times(r"failed to start (\d+) times, the last time by RuntimeError", str(problem["detail"])) >= 5
        assert_problem(post(server, {"class_id": 1}), 503, "not-ready")
        assert client.get("/livez").status_code == 200


def test_however_often_a_worker_that_was_ready_is_killed_what_is_asked_meanwhile_waits_and_is_made() -> None:
    with running(fake_command(models="fake-64"), until_ready=False) as server, server.client() as client:
        for _ in range(6):
            server.wait_until_ready()
            os.kill(server.worker_pid, signal.SIGKILL)
            assert server.wait_for_event("worker_ended")["failed_starts"] == 0
        readyz = client.get("/readyz")
        assert readyz.status_code == 200 or "killed by SIGKILL" in readyz.text or "loading" in readyz.text
        assert post(server, {"class_id": 1}).status_code == 200


def test_a_job_that_hangs_twice_fails_alone(pool: ThreadPoolExecutor) -> None:
    with running(debug("--step-timeout-seconds", "2")) as server:
        innocent = start(server, pool, {**SLOW_JOB, "n": 2})
        guilty = pool.submit(post, server, {"class_id": HANGS})
        assert_problem(guilty.result(PATIENCE_SECONDS), 500, "job-crashed")
        assert images(innocent.result(PATIENCE_SECONDS)) == made_alone(server, {**SLOW_JOB, "n": 2})


def test_a_stopped_worker_costs_the_client_nothing_but_time(pool: ThreadPoolExecutor) -> None:
    with running(debug("--step-timeout-seconds", "2", "--silence-seconds", "1")) as server:
        answer = start(server, pool, {**SLOW_JOB, "n": 2})
        os.kill(server.worker_pid, signal.SIGSTOP)
        assert server.wait_for_event("worker_ended")["how"] == "silent for 1.0 s"
        disturbed = images(answer.result(PATIENCE_SECONDS))
        assert disturbed == made_alone(server, {**SLOW_JOB, "n": 2})


def two_workers(*flags: str, models: str = "fake-64,fake-128") -> list[str]:
    return fake_command("--log-level", "debug", "--devices", "fake:0,fake:1", *flags, models=models)


def test_two_workers_share_the_work(pool: ThreadPoolExecutor) -> None:
    with running(two_workers()) as server:
        server.wait_until_ready()
        with server.client() as client:
            assert client.get("/v1/models").json()["models"][0]["devices"] == ["fake:0", "fake:1"]
        answers = [pool.submit(post, server, SLOW_JOB) for _ in range(2)]
        assert {server.wait_for_event("job_started")["worker"] for _ in answers} == {0, 1}
        first, second = (answer.result(PATIENCE_SECONDS).content for answer in answers)
        assert first == second


def test_one_of_two_workers_killed_costs_nothing_and_readyz_says_which_is_missing(pool: ThreadPoolExecutor) -> None:
    with running(two_workers()) as server, server.client() as client:
        first_pid = server.worker_pid
        server.wait_until_ready()
        answers = [pool.submit(post, server, {**SLOW_JOB, "seed": seed}) for seed in range(4)]
        for _ in answers:
            server.wait_for_event("job_started")
        os.kill(first_pid, signal.SIGKILL)
        server.wait_for_event("worker_ended")
        ready = client.get("/readyz")
        assert ready.status_code == 200
        if ready.json()["missing"]:  # unless it is back already
            (trouble,) = ready.json()["missing"].values()
            assert "killed by SIGKILL" in trouble or "loading" in trouble
        disturbed = [answer.result(PATIENCE_SECONDS).content for answer in answers]
        assert disturbed == made_alone(server, {**SLOW_JOB, "seed": 0, "n": 4})


def test_the_service_is_ready_with_one_of_two_workers_and_says_why_the_other_is_not() -> None:
    with running(two_workers(models="half-64")) as server, server.client() as client:
        for _ in range(5):
            server.wait_for_event("worker_ended")
        ready = client.get("/readyz")
        assert ready.status_code == 200
        ((name, trouble),) = ready.json()["missing"].items()
        assert name == "worker 1 (fake:1)"
        assert times(r"failed to start (\d+) times, the last time by RuntimeError", trouble) >= 5
        assert post(server, {"class_id": 1}).status_code == 200


def test_a_job_that_kills_two_workers_fails_alone(pool: ThreadPoolExecutor) -> None:
    with running(two_workers()) as server:
        server.wait_until_ready()
        innocent = [pool.submit(post, server, {**SLOW_JOB, "seed": seed}) for seed in range(4)]
        for _ in innocent:
            server.wait_for_event("job_started")
        guilty = pool.submit(post, server, {"class_id": KILLS})
        assert_problem(guilty.result(PATIENCE_SECONDS), 500, "job-crashed")
        disturbed = [answer.result(PATIENCE_SECONDS).content for answer in innocent]
        assert disturbed == made_alone(server, {**SLOW_JOB, "seed": 0, "n": 4})
