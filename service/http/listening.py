"""The sockets that the service listens on: every address of this machine that a host's name stands for.

`::` takes IPv4 as well, and `localhost` is both loopbacks, where there are two. Knows no server and no setting.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from typing import Any

BACKLOG = 2048
TRIES = 10  # to find a port that is free on several addresses
_ALL = "::"
_NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # an address of another machine, or of a protocol that is off


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets of one port, one for each address.

    Args:
        host: an address, with or without the brackets of a URL, or a name.
        port: 0 for any that is free on all of them.

    Raises:
        OSError: the port is taken on one of them, or none is an address of this machine; `why` says it in words.
    """
    addresses = _addresses(host, port)
    for _ in range(TRIES if port == 0 else 1):
        try:
            return _listen_on_all(addresses, port)
        except OSError as error:
            refusal = error
            if error.errno != errno.EADDRINUSE:
                break
    raise refusal


def why(error: OSError) -> str:
    """Why there is nothing to listen on, in words."""
    if error.errno == errno.EAFNOSUPPORT:
        return "this system has no IPv6 (0.0.0.0 is every address of IPv4)"
    is_of_the_name = isinstance(error, socket.gaierror) or error.errno is None
    return str(error.strerror or error) if is_of_the_name else os.strerror(error.errno or 0)


def shown(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def is_reached_from_outside(listeners: Sequence[socket.socket]) -> bool:
    """Whether anything but this machine can connect, as far as addresses go."""
    addresses = [str(listener.getsockname()[0]).partition("%")[0] for listener in listeners]
    return not all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    """Family and address of all that a host stands for, each once."""
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no host can be called so") from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listen_on_all(addresses: Sequence[tuple[socket.AddressFamily, Any]], port: int) -> list[socket.socket]:
    opened: list[socket.socket] = []
    not_ours: OSError | None = None
    with contextlib.ExitStack() as on_failure:
        for family, address in addresses:
            try:
                listener = _listen_on(family, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
                not_ours = error
                continue
            opened.append(on_failure.enter_context(listener))
            port = listener.getsockname()[1]
        if not opened and not_ours is not None:
            raise not_ours
        on_failure.pop_all()
    return opened


def _listen_on(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    takes_both = address[0] == _ALL and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=takes_both)
