"""The server process: its start, its signals and its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.service.front.test_front import ENDLESS_JOB, SLOW_JOB, debug, images, post, start
from tests.service.http.test_app import assert_problem
from tests.service.running import (
    PATIENCE_SECONDS,
    ROOT,
    Running,
    clean_environment,
    fake_command,
    running,
)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def fail_to_start(command: list[str], **environment: str) -> str:
    """The sentence of a server that ends by itself with status 2."""
    ended = subprocess.run(
        command, cwd=ROOT, env=clean_environment() | environment, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_livez_answers_while_the_models_load(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = fake_command(models=f"waiting-64:{fifo}")
    with running(command, until_ready=False) as server, server.client() as client:
        server.wait_for_event("loading")
        assert client.get("/livez").status_code == 200
        problem = assert_problem(client.get("/readyz"), 503, "not-ready")
        assert "loading fifo" in str(problem["detail"])
        refused = post(server, {"class_id": 1})
        assert_problem(refused, 503, "not-ready")
        assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("2", "2000")
        assert_problem(client.get("/v1/models"), 503, "not-ready")
        fifo.write_bytes(b"go")
        server.wait_until_ready()
        assert client.get("/readyz").status_code == 200


def test_no_answer_holds_a_path_of_the_server(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with running(fake_command(models=f"waiting-64:{fifo}"), until_ready=False) as server, server.client() as client:
        server.wait_for_event("loading")
        assert str(tmp_path) not in client.get("/readyz").text
        fifo.write_bytes(b"go")


def test_the_http_process_imports_no_torch_and_no_numpy() -> None:
    with running(fake_command()) as server:
        assert post(server, {"class_id": 1}).status_code == 200
        assert server.terminate() == 0
        (line,) = [line for line in server.seen if line.get("event") == "modules"]
        heavy = {"torch", "numpy", "diffusers", "transformers", "PIL", "safetensors"}
        heavy |= {"dit_serve.models.pipeline", "dit_serve.kernels"}
        assert not heavy & set(line["modules"])


def test_sigterm_refuses_new_work_finishes_the_old_and_exits_0(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server, server.client() as client:
        undisturbed = images(post(server, SLOW_JOB, Accept="application/json"))
        server.wait_for_event("request")
        answer = start(server, pool, SLOW_JOB)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_event("draining")
        assert_problem(client.get("/readyz"), 503, "not-ready")
        assert_problem(post(server, {"class_id": 1}), 503, "shutting-down")
        assert client.get("/livez").status_code == 200
        assert images(answer.result(PATIENCE_SECONDS)) == undisturbed
        assert server.finish() == 0


def test_sigterm_without_work_exits_0() -> None:
    with running(fake_command()) as server:
        assert server.terminate() == 0


def test_a_closed_terminal_drains_too(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        answer = start(server, pool, SLOW_JOB)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_event("draining")
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):  # as shell and kernel, or systemd, send
            server.process.send_signal(number)
        assert len(images(answer.result(PATIENCE_SECONDS))) == 1
        assert server.finish() == 0


def test_sigint_drains_too() -> None:
    with running(fake_command()) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.finish() == 0


def test_a_drain_is_bounded_and_says_that_work_was_lost(pool: ThreadPoolExecutor) -> None:
    with running(debug("--drain-seconds", "0.1")) as server:
        answer = start(server, pool, ENDLESS_JOB)
        assert server.terminate() == 1
        assert_problem(answer.result(PATIENCE_SECONDS), 504, "expired")


def test_a_second_signal_ends_everything_at_once(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        answer = start(server, pool, ENDLESS_JOB)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_event("draining")
        assert server.terminate() == 130
        assert answer.exception(PATIENCE_SECONDS) is not None


def test_the_worker_ends_with_a_killed_server() -> None:
    with running(fake_command()) as server:
        server.process.kill()
        server.finish()  # which waits for the worker, as it holds the log


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process that is stopped ends when it goes on")
def test_a_worker_that_is_stopped_ends_with_a_killed_server() -> None:
    with running(fake_command()) as server:
        os.kill(server.worker_pid, signal.SIGSTOP)
        server.process.kill()
        server.finish()


def test_a_worker_that_loads_ends_with_a_killed_server(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with running(fake_command(models=f"waiting-64:{tmp_path / 'fifo'}"), until_ready=False) as server:
        server.wait_for_event("loading")
        server.process.kill()
        server.finish()


def test_an_alias_of_no_model_ends_the_start_with_a_sentence() -> None:
    with running(fake_command("--model-aliases", "gpt-image-1=other"), until_ready=False) as server:
        assert server.finish() == 2
        assert any("loaded are fake-64, fake-128" in str(line.get("message")) for line in server.seen)


def test_signals_to_the_worker_alone_are_ignored(pool: ThreadPoolExecutor) -> None:
    with running(debug()) as server:
        answer = start(server, pool, SLOW_JOB)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(server.worker_pid, number)
        assert len(images(answer.result(PATIENCE_SECONDS))) == 1
        assert "worker_ended" not in [line.get("event") for line in server.seen]


def test_a_taken_port_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = fail_to_start(fake_command("--port", str(port)))
    assert f"cannot listen on 127.0.0.1:{port}" in sentence


def test_a_model_that_cannot_be_loaded_ends_the_start_with_its_sentence() -> None:
    assert "dit serve: broken-64 is broken: take another" in fail_to_start(fake_command(models="broken-64"))


def test_two_models_of_one_resolution_are_told_apart_by_name() -> None:
    with running(fake_command(models="fake-64,other-64")) as server:
        for asked, made in ({}, "fake-64"), ({"resolution": 64}, "fake-64"), ({"model": "other-64"}, "other-64"):
            answer = post(server, {"class_id": 1, "steps": 1, **asked}, Accept="application/json")
            assert [image["model"] for image in answer.json()["images"]] == [made]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DIT_PROT": "1"}, "DIT_PROT is no setting; did you mean DIT_PORT?"),
        ({"DIT_DRAIN_SECONDS": "soon"}, "DIT_DRAIN_SECONDS is 'soon'"),
    ],
)
def test_wrong_settings_end_the_start_with_a_sentence(environment: dict[str, str], sentence: str) -> None:
    assert sentence in fail_to_start(fake_command(), **environment)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_all_addresses_without_keys_and_a_neighbours_variables_are_told_once_each() -> None:
    made = {"DIT_PORT": "tcp://10.96.0.12:8000", "DIT_SERVICE_HOST": "10.96.0.12"}
    command = fake_command("--host", "::", "--metrics-host", "::")
    with running(command, until_ready=False, **made) as server:
        server.wait_for_event("no_keys")
        for loopback in ("127.0.0.1", "[::1]"):
            for port in (server.port, server.find("metrics_listening")[0]["port"]):
                assert httpx.get(f"http://{loopback}:{port}/livez", trust_env=False).status_code in (200, 404)
        (doubt,) = server.find("no_keys")
        (ignored,) = server.find("ignored_variables")
        assert (doubt["level"], ignored["level"]) == ("warning", "info")
        assert ignored["variables"] == sorted(made)
        assert all(name in ignored["message"] for name in made)


def test_what_memory_may_be_taken_is_told_at_the_start(fake_server: Running) -> None:
    (line,) = fake_server.find("memory")
    assert line["total_bytes"] > line["workers"] * line["worker_bytes"] > 0
    assert line["limit_bytes"] >= line["free_bytes"]
    assert line["message"].startswith("memory: ")


def test_the_service_listens_on_loopback_alone(fake_server: Running) -> None:
    port = int(fake_server.url.rsplit(":", 1)[1])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), PATIENCE_SECONDS):
        pass
