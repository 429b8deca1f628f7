"""What the processes that serve do to the machine: they unpickle nothing, and open no socket beyond the loopback.

The interpreter's own audit hooks tell, from its first moment, in the HTTP process and in its children; what uvloop and
other compiled code might open beside them, the kernel's tables tell.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.service.running import Running, clean_environment, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's tables of sockets")
AUDITED = Path(__file__).parent / "audited"
LISTEN = "0A"  # in the kernel's tables
Event = tuple[int, str, list[Any]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], set[tuple[str, int, bool]], set[int]]:
    """A server's whole life on a demo model: its events, its sockets while it serves, and the ports it tells of."""
    log = tmp_path_factory.mktemp("audit") / "events"
    command = [sys.executable, "-m", "dit_serve", "serve", "--port", "0", "--metrics-port", "0"]
    command += ["--models", "digits-64"]
    with running(command, **audited(log)) as server:
        with server.client() as client:
            body = {"class_id": 7, "steps": 4, "seed": 1}
            assert client.post("/generate", json=body).status_code == 200
            told = client.post("/generate", json={**body, "preview_every": 2}, headers={"accept": "text/event-stream"})
            assert "completed" in told.text
            open_now = sockets(pids(log))
        assert server.terminate() == 0
    return events(log), open_now, ports(server)


def audited(log: Path) -> dict[str, str]:
    """The environment under which every Python process writes its events into the log."""
    return {"PYTHONPATH": str(AUDITED), "PYTHON_DITTEST_AUDIT": str(log)}


def events(log: Path) -> list[Event]:
    return [tuple(json.loads(line)) for line in log.read_text().splitlines()]


def pids(log: Path) -> set[int]:
    return {pid for pid, _, _ in events(log)}


def ports(server: Running) -> set[int]:
    return {int(line["port"]) for line in server.seen if "port" in line}


def sockets(processes: set[int]) -> set[tuple[str, int, bool]]:
    """Every TCP and UDP socket of these processes that still run: (address and peer, port, whether it listens)."""
    inodes = set()
    for pid in processes:
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(FileNotFoundError):  # closed since: a process that stands by is still importing
                inodes.add(os.readlink(entry).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                here, port = fields[1].split(":")
                there = fields[2].split(":")[0]
                found |= {(each, int(port, 16), fields[3] == LISTEN) for each in {here, there} - {"0" * len(here)}}
                assert here != "0" * len(here), "listens on every address of the machine"
    return found


def is_loopback(address: str) -> bool:
    """Whether an address of the kernel's tables, in its own byte order, is one of the loopback."""
    words = [int(address[i : i + 8], 16).to_bytes(4, sys.byteorder) for i in range(0, len(address), 8)]
    parsed = ipaddress.ip_address(b"".join(words))
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def test_every_process_is_watched(told: tuple[list[Event], Any, Any]) -> None:
    starts = [" ".join(arguments) for _, event, arguments in told[0] if event == "start"]
    assert any("dit_serve serve" in start for start in starts)
    assert any("dit_serve.service.workers.process" in start for start in starts)


def test_nothing_is_unpickled(told: tuple[list[Event], Any, Any]) -> None:
    assert [event for event in told[0] if event[1] in ("pickle.find_class", "torch.load")] == []


def test_python_asks_for_no_address_but_its_own_and_connects_to_none(told: tuple[list[Event], Any, set[int]]) -> None:
    events, _, ports = told
    by_event = Counter(event for _, event, _ in events if event.startswith("socket."))
    assert by_event.keys() == {"socket.bind", "socket.getaddrinfo"}
    assert {arguments[0] for _, event, arguments in events if event == "socket.getaddrinfo"} == {"127.0.0.1"}
    bound = [(pid, arguments[1][0]) for pid, event, arguments in events if event == "socket.bind"]
    assert all(ipaddress.ip_address(address).is_loopback for _, address in bound)
    server = events[0][0]
    assert [address for pid, address in bound if pid == server] == ["127.0.0.1"] * len(ports)


def test_no_program_is_started_but_workers(told: tuple[list[Event], Any, Any]) -> None:
    assert not {event for _, event, _ in told[0]} & {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"}
    _, *others = [arguments for _, event, arguments in told[0] if event == "start"]
    started = {tuple(each[:3]) for each in others}  # by the event loop
    assert started == {("-P", "-m", "dit_serve.service.workers.process")}


def test_the_kernel_knows_of_no_socket_beyond_the_loopback(
    told: tuple[Any, set[tuple[str, int, bool]], set[int]],
) -> None:
    _, open_now, ports = told
    assert open_now
    assert [address for address, _, _ in open_now if not is_loopback(address)] == []
    assert {port for _, port, is_listening in open_now if is_listening} == ports


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import pickle; pickle.loads(b'cbuiltins\\nlen\\n.')", "pickle.find_class"),
        ("import torch, sys; torch.load(sys.argv[1], weights_only=True)", "torch.load"),
        ("import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))", "socket.connect"),
    ],
)
def test_the_watch_sees_what_it_is_for(code: str, event: str, tmp_path: Path) -> None:
    """Without this, an empty log would prove nothing."""
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pt")
    command = [sys.executable, "-c", code, str(tmp_path / "x.pt")]
    subprocess.run(command, env=clean_environment() | audited(tmp_path / "log"), check=True)
    assert event in [name for _, name, _ in events(tmp_path / "log")]
