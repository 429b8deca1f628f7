"""Which addresses are listened on, by the host's name."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

import pytest

from dit_serve.service.http.listening import is_reached_from_outside, listen, shown, why

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
BOTH = [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]


def resolving(to: Sequence[tuple[int, Any]]) -> Callable[..., list[Any]]:
    """A name service that answers with these addresses."""
    return lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", address) for family, address in to]


def addresses(host: str) -> list[str]:
    """What is listened on for a host; each address answers, and all have one port."""
    with ExitStack() as opened:
        listeners = [opened.enter_context(closing(listener)) for listener in listen(host, 0)]
        for listener in listeners:
            with socket.socket(listener.family) as client:
                client.connect(listener.getsockname())
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        return [listener.getsockname()[0] for listener in listeners]


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "[::]"])
def test_all_addresses_of_ipv6_are_those_of_ipv4_too(host: str) -> None:
    (listener,) = listen(host, 0)
    with closing(listener):
        for loopback in ("::1", "127.0.0.1"):
            socket.create_connection((loopback, listener.getsockname()[1])).close()


@needs_ipv6
def test_one_address_of_ipv6_is_no_other() -> None:
    assert addresses("::1") == ["::1"]


@needs_ipv6
def test_a_name_of_several_addresses_listens_on_each_with_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving([*BOTH, BOTH[0]]))
    assert addresses("localhost") == ["::1", "127.0.0.1"]


def test_an_address_of_a_name_that_this_machine_has_not_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving([(socket.AF_INET, ("192.0.2.1", 0)), BOTH[1]]))
    assert addresses("elsewhere-too") == ["127.0.0.1"]


def test_a_port_that_is_taken_on_one_of_its_addresses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        both = [(socket.AF_INET, ("127.0.0.2", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
        monkeypatch.setattr(socket, "getaddrinfo", resolving(both))
        with pytest.raises(OSError) as caught:  # noqa: PT011
            listen("two", taken.getsockname()[1])
    assert (caught.value.errno, why(caught.value)) == (errno.EADDRINUSE, "Address already in use")


def test_a_system_without_ipv6_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(OSError, match="Address family") as caught:
        listen("::", 0)
    assert why(caught.value) == "this system has no IPv6 (0.0.0.0 is every address of IPv4)"


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 100])
def test_what_is_no_host_of_this_machine_is_told_in_words(host: str) -> None:
    with pytest.raises(OSError) as caught:  # noqa: PT011
        listen(host, 0)
    assert why(caught.value) in ("Cannot assign requested address", "no host can be called so")


@pytest.mark.parametrize(("host", "is_open"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_loopbacks_are_reached_from_this_machine_alone(host: str, is_open: bool) -> None:
    with ExitStack() as opened:
        assert is_reached_from_outside([opened.enter_context(each) for each in listen(host, 0)]) is is_open


def test_an_address_of_ipv6_has_brackets_where_a_port_follows() -> None:
    assert [shown(host) for host in ("::", "[::1]", "localhost")] == ["[::]", "[::1]", "localhost"]
