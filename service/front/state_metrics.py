"""What Prometheus is told of the present state, read when it asks: requests, jobs, the queue, the workers, the build.

These numbers are kept elsewhere for other reasons (the tally, the ledger), and are not counted twice.
One answer is one moment of the event loop, so that in each of them

    requests received = sum of requests ended + in progress
    jobs accepted = sum of jobs ended + waiting + running

hold exactly. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dit_serve.service.front.front import Front
from dit_serve.service.telemetry.tally import Tally
from dit_serve.service.version import version

STATES = {False: "waiting", True: "running"}


class StateCollector(Collector):
    """Reads a front and a tally.

    Args:
        front: has the jobs and the workers.
        tally: has the requests.
    """

    def __init__(self, front: Front, tally: Tally) -> None:
        self._front = front
        self._tally = tally

    def collect(self) -> Iterable[Metric]:
        """The families, in a fixed order, empty ones too."""
        yield from self._requests()
        yield from self._jobs()
        yield from self._queue()
        yield from self._workers()
        yield _info("dit_build", "The version that runs.", ("version",), [(version(),)])
        yield _info(
            "dit_model",
            "A loaded model and the SHA-256 of its weights.",
            ("model", "resolution", "dtype", "sha256"),
            [(model.name, str(model.resolution), model.dtype, model.sha256) for model in self._front.models.values()],
        )

    def _requests(self) -> Iterator[Metric]:
        tally = self._tally
        answered = CounterMetricFamily(
            "dit_http_requests",
            "Requests ended, by path, status (0 is none) and, of those for images, protocol.",
            labels=("route", "status", "protocol"),
        )
        for (route, status, protocol), count in tally.answered.items():
            answered.add_metric((route, str(status), protocol), count)
        yield answered
        yield CounterMetricFamily("dit_requests_received", "Requests received.", tally.received)
        ended = CounterMetricFamily("dit_requests", "Requests ended, by what became of them.", labels=("verdict",))
        for verdict, count in tally.ended.items():
            ended.add_metric((verdict.value,), count)
        yield ended
        yield GaugeMetricFamily("dit_requests_in_progress", "Requests received and not ended.", tally.under_way)

    def _jobs(self) -> Iterator[Metric]:
        counters = self._front.ledger.counters
        yield CounterMetricFamily("dit_jobs_accepted", "Images accepted to be made.", counters.accepted)
        ended = CounterMetricFamily("dit_jobs", "Accepted images by how they ended.", labels=("outcome",))
        for outcome, count in counters.ended.items():
            ended.add_metric((outcome.value,), count)
        yield ended

    def _queue(self) -> Iterator[Metric]:
        ledger, models = self._front.ledger, self._front.models
        labels = ("model", "resolution", "state")
        jobs = GaugeMetricFamily("dit_queue_jobs", "Images accepted and not finished.", labels=labels)
        sequences = GaugeMetricFamily("dit_queue_sequences", "Places taken, two by a guided image.", labels=labels)
        for name, model in models.items():
            for is_running, state in STATES.items():
                job_count, sequence_count = ledger.census.get((name, is_running), (0, 0))
                jobs.add_metric((name, str(model.resolution), state), job_count)
                sequences.add_metric((name, str(model.resolution), state), sequence_count)
        yield jobs
        yield sequences
        bound = self._front.admission.max_queue_sequences
        yield GaugeMetricFamily("dit_queue_bound_sequences", "Most places of images accepted and not finished.", bound)
        seconds = ledger.estimate.seconds()
        yield GaugeMetricFamily("dit_queue_work_seconds", "Predicted seconds until all accepted work is done.", seconds)

    def _workers(self) -> Iterator[Metric]:
        ready = self._front.readiness.is_ready
        yield GaugeMetricFamily("dit_ready", "1 if new work would be started now, as /readyz says.", ready)
        up = GaugeMetricFamily("dit_worker_up", "1 if this worker takes jobs.", labels=("worker",))
        for number, is_up in enumerate(self._front.workers_up):
            up.add_metric((str(number),), is_up)
        yield up
        text = "1 if this worker is kept out, as its models' files have changed since they were loaded."
        refused = GaugeMetricFamily("dit_worker_refused", text, labels=("worker",))
        for number, is_refused in enumerate(self._front.workers_refused):
            refused.add_metric((str(number),), is_refused)
        yield refused
        standby = GaugeMetricFamily("dit_standby_up", "1 if a process stands by; none if none is wanted.")
        if (is_standing := self._front.standby_up) is not None:
            standby.add_metric((), is_standing)
        yield standby


def _info(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Metric:
    family = GaugeMetricFamily(f"{name}_info", text, labels=labels)
    for row in rows:
        family.add_metric(row, 1)
    return family
