"""How many descriptors the process may have open, and how many of them are for connections.

Everything that is open is a descriptor: connections, workers' sockets, listening sockets, files that are read. Whoever
takes the last one takes it from a worker that should be started. So connections have a share, and the rest is kept.

The soft limit is raised as far as is of use and the hard one allows, and no further: workers inherit it, and there are
libraries that go through all descriptors that could be. Knows no connection.
"""

from __future__ import annotations

import contextlib
import os

from dit_serve.service.errors import StartError
from dit_serve.service.http.connections import Bounds
from dit_serve.service.http_limits import DEFAULT_CONNECTIONS, HttpLimits

USEFUL = 65_536  # of a soft limit
LEAST_CONNECTIONS = 4
LEAST = 56  # of a limit, to serve with
OWN = 8  # of files that are read now and then, and of what is opened later
OF_WORKER = 2  # its socket, and what the system tells of its end by
STARTING = 6  # while a process is started
SPARE = 32  # one in so many is for nothing in particular
_FOLDER = "/dev/fd"
_MANY = 256  # of a limit, with which nothing needs to be spared
_METRICS = {True: Bounds(32, 32, 4), False: Bounds(4, 4, 2)}  # where there are many, or not


def raise_limit(limits: HttpLimits) -> int:
    """Raises the soft limit as far as is of use; what it is then.

    Raises:
        StartError: it is too small to serve with.
    """
    import resource  # not on Windows, where the command says that it does not run there

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(USEFUL, limits.max_connections + USEFUL // 16)
    if soft != resource.RLIM_INFINITY:
        target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if target > soft:
            with contextlib.suppress(ValueError, OSError):  # a system may have a lower one of its own
                resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
                soft = target
    limit = wanted if soft == resource.RLIM_INFINITY else soft
    if limit < LEAST:
        raise StartError(f"{limit} open files are allowed, too few to serve with: raise ulimit -n to {LEAST} or more")
    return limit


def shares(limits: HttpLimits, limit: int, workers: int) -> tuple[Bounds, Bounds]:
    """Most connections of the service and of the metrics' port.

    Args:
        limits: what the operator asks for.
        limit: most descriptors.
        workers: how many worker processes there are to be.

    Raises:
        StartError: there are fewer than are needed, or than are asked for.
    """
    of_metrics = _METRICS[limit >= _MANY]
    own = _open_now() + OWN + STARTING + OF_WORKER * (workers + 1) + limit // SPARE
    left = limit - own - of_metrics.in_all - of_metrics.surplus
    surplus = min(64, max(4, left // 8))
    possible = left - surplus
    least = max(LEAST_CONNECTIONS, limits.max_connections)
    if possible < least:
        asked = f" for the {limits.max_connections} of max_connections" if limits.max_connections else ""
        raise StartError(
            f"{limit} open files are allowed, which leaves {max(0, possible)} connections beside {workers} "
            f"workers, too few{asked}: raise ulimit -n to {limit + least - possible} or more"
        )
    in_all = limits.max_connections or min(possible, DEFAULT_CONNECTIONS)
    return Bounds(in_all, min(in_all, limits.max_connections_per_peer or max(1, in_all * 3 // 4)), surplus), of_metrics


def _open_now() -> int:
    """Descriptors that are open."""
    try:
        return len(os.listdir(_FOLDER)) - 1  # without the folder's own
    except OSError:
        return 3 * OWN
