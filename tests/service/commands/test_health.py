"""`dit health` asks the service where the variables say that it listens."""

from __future__ import annotations

import pytest

from dit_serve.service.cli import main
from dit_serve.service.commands import health
from tests.service.running import Running, free_port


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The addresses that are asked, by a stand-in that finds all well."""
    asked: list[tuple[str, int]] = []

    def note(host: str, port: int) -> int:
        asked.append((host, port))
        return 0

    monkeypatch.setattr(health, "ask", note)
    return asked


@pytest.mark.parametrize(
    ("host", "port", "address"),
    [
        ("", "", ("127.0.0.1", 8000)),
        ("0.0.0.0", "", ("127.0.0.1", 8000)),
        ("::", "9000", ("::1", 9000)),
        ("192.0.2.7", "9000", ("192.0.2.7", 9000)),
        ("2001:db8::7", "", ("2001:db8::7", 8000)),
        ("localhost", "80", ("localhost", 80)),
    ],
)
def test_it_asks_where_the_service_listens(
    host: str, port: str, address: tuple[str, int], asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIT_HOST", host)
    monkeypatch.setenv("DIT_PORT", port)
    assert main(["health"]) == 0
    assert asked == [address]


@pytest.mark.parametrize(("port", "reason"), [("0", "DIT_PORT is 0"), ("many", "DIT_PORT is 'many'")])
def test_an_address_that_is_none_is_no_health(
    port: str, reason: str, asked: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DIT_PORT", port)
    assert main(["health"]) == 1
    assert capsys.readouterr().err.startswith(f"dit health: {reason}")
    assert asked == []


def test_a_service_that_is_ready_is_healthy_whatever_the_proxy(
    fake_server: Running, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("DIT_PORT", str(fake_server.port))
    assert main(["health"]) == 0
    assert capfd.readouterr() == ("", "")


def test_a_service_that_is_not_there_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("DIT_PORT", str(port))
    assert main(["health"]) == 1
    assert f"dit health: no answer from 127.0.0.1, port {port}" in capsys.readouterr().err


def test_a_service_that_is_not_ready_is_not_healthy_and_says_why(
    fake_server: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATH", "/nowhere")
    assert health.ask("127.0.0.1", fake_server.port) == 1
    assert "There is nothing at this path" in capsys.readouterr().err
