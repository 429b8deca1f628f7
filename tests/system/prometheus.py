"""A real Prometheus in a subprocess on a free loopback port, with the repository's configuration at a faster pace."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.docker.boards import DOCKER
from tests.service.running import free_port

PATIENCE_SECONDS = 120.0  # for a machine that is busy with other work
PACE_SECONDS = 0.2  # Prometheus tells nobody when it has scraped, so it is asked again and again


class Prometheus:
    """Asks it."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False)

    def query(self, expr: str) -> list[float]:
        """The values of an expression now, of each series; those that are no number are left out."""
        answer = self._client.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", (expr, answer)
        values = [float(series["value"][1]) for series in answer["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with how their last evaluation went."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()


def until(is_so: Callable[[], bool], what: str) -> None:
    """Asks until it is so.

    Raises:
        AssertionError: it did not become so in a time that suffices for a busy machine.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(PACE_SECONDS)


def tool(name: str) -> str:
    """The path of a program of Debian's package."""
    path = shutil.which(name)
    assert path is not None, f"{name} is missing: `make test-system` installs Debian's package prometheus"
    return path


def configuration(target: str) -> dict[str, Any]:
    """docker/prometheus.yml with one fixed target, asked every second."""
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    loaded["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    loaded["rule_files"] = [str(DOCKER / "alerts.yml")]
    (job,) = loaded["scrape_configs"]
    del job["dns_sd_configs"], job["relabel_configs"]
    job["static_configs"] = [{"targets": [target]}]
    return loaded


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Prometheus for the length of a with-statement, watching one target; its log is in the folder."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(yaml.safe_dump(configuration(target)))
    command = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    asked = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(lambda: asked.is_ready() or process.poll() is not None, "Prometheus is ready")
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        yield asked
    finally:
        asked.close()
        process.terminate()
        process.wait(PATIENCE_SECONDS)
