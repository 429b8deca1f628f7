"""How many log records of this process were lost, for Prometheus; read when it asks. Knows no record."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from dit_serve.service.telemetry.logs import LineWriter


class LogCollector(Collector):
    """Reads the log's writer.

    Args:
        writer: of this process; a worker tells of its own losses in a line alone.
    """

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterable[Metric]:
        """The family."""
        yield CounterMetricFamily(
            "dit_log_records_dropped", "Log records of the HTTP process that were not written.", self._writer.dropped
        )
