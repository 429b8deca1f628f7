"""What Prometheus and the log are told of connections. Knows no protocol."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dit_serve.service.http.connections import Bounds, Connections
from dit_serve.service.telemetry.sampling import Seldom

TELL_SECONDS = 60.0


class ConnectionCollector(Collector):
    """Reads the connections of the service.

    Args:
        connections: those.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def collect(self) -> Iterable[Metric]:
        """The families."""
        open_now, bound = len(self._connections), self._connections.bounds.in_all
        yield GaugeMetricFamily("dit_http_connections", "Connections open.", open_now)
        yield GaugeMetricFamily("dit_http_connections_bound", "Most connections that are served.", bound)
        closed = CounterMetricFamily(
            "dit_http_connections_closed",
            "Connections that made room for others (silent, idle, slow, unread), or were refused.",
            labels=("reason",),
        )
        for reason, count in self._connections.closed.items():
            closed.add_metric((reason,), count)
        yield closed


def full_warning(port: str, bounds: Bounds) -> Callable[[], None]:
    """What is called when a connection makes room or is refused: one warning at once, then one a minute at most.

    Args:
        port: what the connections are for, in words.
        bounds: that they have come to.
    """

    def tell(count: int) -> None:
        fields = {"event": "connections_full", "port": port, "bound": bounds.in_all, "bound_of_peer": bounds.of_peer}
        logging.getLogger("dit.server").warning(
            "%s has as many connections as may be, %d or %d of one address; closed to make room, or refused: %d",
            port, bounds.in_all, bounds.of_peer, count, extra={"fields": fields | {"closed": count}},
        )

    return Seldom(tell, TELL_SECONDS)
