"""The upgrade that docs/operations.md describes, with its own nginx block: two instances in turn, unseen by clients."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.running import PATIENCE_SECONDS, ROOT, fake_command, running

pytestmark = pytest.mark.system
CLIENTS = 8
SETTLE_SECONDS = 2.0  # the guide's: what the new instance refused while loading has reached the other one by then
ASK = {"class_id": 1, "steps": 5, "seed": 3}


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def front(folder: Path, ports: dict[str, int]) -> Iterator[str]:
    """nginx with the guide's block, its ports replaced; ends with the with-statement."""
    guide = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```nginx\n(.*?)```", guide, re.DOTALL)
    for written, port in ports.items():
        assert f"127.0.0.1:{written}" in block
        block = block.replace(f"127.0.0.1:{written}", f"127.0.0.1:{port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {paths} {block} }}"
    (folder / "nginx.conf").write_text(config, encoding="utf-8")
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program is not None, "nginx is missing: `make test-system` installs it"
    command = [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(folder / "nginx.conf")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with subprocess.Popen(command) as process:
        try:
            yield f"http://127.0.0.1:{ports['8080']}"
        finally:
            process.terminate()


def test_no_client_sees_an_upgrade_of_two_instances_one_after_the_other(tmp_path: Path) -> None:
    ports = dict(zip(("8001", "8002", "8080"), free_ports(3), strict=True))
    answers: Counter[tuple[int, bytes]] = Counter()
    is_over = threading.Event()
    is_served = threading.Barrier(CLIENTS + 1)

    def ask_again_and_again(url: str) -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            for count in range(10**9):
                answer = client.post("/generate", json=ASK)
                answers[answer.status_code, answer.content if answer.is_success else answer.content[:300]] += 1
                if count == 0:
                    is_served.wait(PATIENCE_SECONDS)
                if is_over.is_set():
                    return

    def instance(name: str) -> list[str]:
        return fake_command("--port", str(ports[name]))  # the last --port counts

    with ExitStack() as life, ThreadPoolExecutor(CLIENTS) as pool:
        life.callback(is_over.set)
        first = life.enter_context(running(instance("8001")))
        second = life.enter_context(running(instance("8002")))
        url = life.enter_context(front(tmp_path, ports))
        clients = [pool.submit(ask_again_and_again, url) for _ in range(CLIENTS)]
        is_served.wait(PATIENCE_SECONDS)
        for old, name in ((first, "8001"), (second, "8002")):
            assert old.terminate() == 0
            life.enter_context(running(instance(name)))
            time.sleep(SETTLE_SECONDS)
        is_over.set()
        for client in clients:
            client.result(PATIENCE_SECONDS)
    assert [status for status, _ in answers] == [200], answers
    assert answers.total() > CLIENTS
