"""How long a client may take, how much it may send, and how many connections there may be: a group of settings.

Knows no connection; `service.http` keeps to these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

DEFAULT_CONNECTIONS = 4096  # where the limit of open files leaves as many; each may take 100 KiB of memory
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How long a client may take, how much it may send, and how many connections there may be."""

    header_seconds: Annotated[
        _Seconds, Field(le=600, description="Seconds, up to 600, that a client may take to send a request's headers.")
    ] = 5.0
    body_seconds: Annotated[
        _Seconds, Field(le=600, description="Seconds, up to 600, that a client may take to send a request's body.")
    ] = 10.0
    write_seconds: Annotated[
        _Seconds, Field(le=3600, description="Seconds, up to 3600, that a client may leave an answer unread.")
    ] = 30.0
    keep_alive_seconds: Annotated[
        _Seconds, Field(ge=1, le=3600, description="Seconds, 1 to 3600, that a connection may be idle between two "
        "requests; more than a load balancer in front leaves its own idle.")
    ] = 75.0
    max_header_bytes: Annotated[
        int, Field(ge=1 << 10, le=1 << 20, description="Most bytes of a request's headers, 1024 to 1048576.")
    ] = 32 << 10
    max_body_bytes: Annotated[
        int, Field(ge=1 << 10, le=1 << 20, description="Most bytes of a request's body, 1024 to 1048576.")
    ] = 16 << 10
    max_connections: Annotated[
        int, Field(ge=0, le=1_000_000, description="Most connections that are open at once, up to 1000000; 0 is as "
        "many as the limit of open files leaves, 4096 at most.")
    ] = 0
    max_connections_per_peer: Annotated[
        int, Field(ge=0, le=1_000_000, description="Most of these from one address, the /64 of an IPv6 one, up to "
        "1000000; 0 is three quarters of them. Behind a proxy all clients are one address.")
    ] = 0
