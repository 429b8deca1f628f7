"""How many log records of this process were lost, or summed up, for Prometheus; read when it asks. Knows no record."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from dit_serve.service.telemetry.logs import LineWriter
from dit_serve.service.telemetry.sampling import RefusalSampler


class LogCollector(Collector):
    """Reads the log's writer.

    Args:
        writer: of this process; a worker tells of its own losses in a line alone.
        sampler: of the lines about refused requests.
    """

    def __init__(self, writer: LineWriter, sampler: RefusalSampler) -> None:
        self._writer = writer
        self._sampler = sampler

    def collect(self) -> Iterable[Metric]:
        """The families."""
        yield CounterMetricFamily(
            "dit_log_records_dropped", "Log records of the HTTP process that were not written.", self._writer.dropped
        )
        yield CounterMetricFamily(
            "dit_log_records_summarized", "Lines about refused requests of which one line a second tells the number.",
            self._sampler.left_out,
        )
