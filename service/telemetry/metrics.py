"""What is measured as it happens, for Prometheus: jobs by stage, steps, batches, and what befell the workers.

Recorded in the HTTP process from what the workers tell, so that totals outlive a worker. What can be
read at any time (requests, the queue, the workers' state) is not counted a second time: `service.front.state_metrics`
reads it when it is asked for. Labels are of few values: models, stages, numbers of workers; never
an id, a seed, a class or anything that a client may choose freely.

The registry is passed in. Knows no HTTP and no queue.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from dit_serve.models.options import ModelInfo
from dit_serve.service.wire.job import JobEnd, Split, Stepped

STAGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
RETRY_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600)
MODEL_LABELS = ("model", "resolution")
STAGES = ("wait", "first_step", "denoise", "decode", "encode", "total")
REFUSALS = ("queue-full", "deadline-too-short", "not-ready", "shutting-down")


class Metrics:
    """The instruments. All calls are made in the event loop's thread.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._of_model: list[MetricWrapperBase] = []
        self._resolutions: dict[str, int] = {}
        stage_help = "Seconds of a completed image: wait, first_step (from acceptance), denoise, decode, encode, total."
        self._stage_seconds = Histogram(
            "dit_job_stage_seconds", stage_help, (*MODEL_LABELS, "stage"), buckets=STAGE_BUCKETS, registry=registry
        )
        self._images = self._counter("dit_images", "Images made.")
        self._pixels = self._counter("dit_pixels", "Pixels of the images made.")
        self._previews = self._counter("dit_previews", "Looks at unfinished images.")
        self._steps = self._counter("dit_denoising_steps", "Denoising steps, counted for each image of a batch.")
        self._step_seconds = self._histogram("dit_step_seconds", "Seconds of a batch's step.", STEP_BUCKETS)
        self._batch = self._histogram("dit_batch_sequences", "Places taken, two by a guided image.", BATCH_BUCKETS)
        self._places = self._counter("dit_batch_places", "Places that the batches made had.")
        self._hits = self._counter("dit_modulation_cache_hits", "Rows of modulations that were found computed.")
        self._misses = self._counter("dit_modulation_cache_misses", "Rows of modulations computed in a step.")
        self._bisections = self._counter("dit_bisections", "Batches halved to find the image that an error is about.")
        self._memory_splits = self._counter("dit_out_of_memory_splits", "Batches halved because memory was too small.")
        self._replays = Counter("dit_job_replays", "Jobs sent again after a worker was lost.", registry=registry)
        self._restarts = Counter(
            "dit_worker_restarts", "Worker processes that ended and were replaced.", ("worker",), registry=registry
        )
        self._refused = Counter(
            "dit_refused_requests", "Requests for images refused before acceptance.", ("reason",), registry=registry
        )
        self._retry_after = Histogram(
            "dit_retry_after_seconds", "Retry-After told with refusals.", buckets=RETRY_BUCKETS, registry=registry
        )
        for reason in REFUSALS:
            self._refused.labels(reason)

    def expect_workers(self, count: int) -> None:
        """Shows zeros for workers that have not been lost yet: a rate needs a value before the first event."""
        for number in range(count):
            self._restarts.labels(str(number))

    def expect_models(self, models: Iterable[ModelInfo]) -> None:
        """Learns what is loaded, and shows zeros for models that have done nothing yet."""
        self._resolutions = {model.name: model.resolution for model in models}
        for model in self._resolutions:
            for metric in self._of_model:
                metric.labels(*self._labels(model))
            for stage in STAGES:
                self._stage_seconds.labels(*self._labels(model), stage)

    def stepped(self, event: Stepped) -> None:
        """A batch has made a step."""
        labels = self._labels(event.model)
        self._steps.labels(*labels).inc(len(event.job_ids))
        self._step_seconds.labels(*labels).observe(event.seconds)
        self._batch.labels(*labels).observe(event.sequences)
        self._places.labels(*labels).inc(event.places)
        self._hits.labels(*labels).inc(event.cache_hits)
        self._misses.labels(*labels).inc(event.cache_misses)

    def split(self, event: Split) -> None:
        """A batch was done in parts."""
        labels = self._labels(event.model)
        self._bisections.labels(*labels).inc(event.bisections)
        self._memory_splits.labels(*labels).inc(event.memory_splits)

    def previewed(self, model: str) -> None:
        """A look at an image came."""
        self._previews.labels(*self._labels(model)).inc()

    def completed(self, model: str, end: JobEnd, first_step_seconds: float) -> None:
        """An image is made.

        Args:
            model: that made it.
            end: with the seconds of each stage, which together are all since its acceptance.
            first_step_seconds: from its acceptance to the end of its first step.
        """
        labels, stages = self._labels(model), end.timings.stages()
        self._images.labels(*labels).inc()
        self._pixels.labels(*labels).inc(self._resolutions[model] ** 2)
        seconds = {"wait": stages.pop("queue"), "first_step": first_step_seconds, **stages, "total": end.timings.total}
        for stage, value in seconds.items():
            self._stage_seconds.labels(*labels, stage).observe(value)

    def refused(self, reason: str, retry_after: float | None) -> None:
        """A request for images was refused, and told when to come back or not."""
        self._refused.labels(reason).inc()
        if retry_after is not None:
            self._retry_after.observe(max(1, math.ceil(retry_after)))

    def worker_lost(self, number: int, replays: int) -> None:
        """A worker's process ended; so many of its jobs are sent again."""
        self._restarts.labels(str(number)).inc()
        self._replays.inc(replays)

    def _labels(self, model: str) -> tuple[str, str]:
        return model, str(self._resolutions[model])

    def _counter(self, name: str, text: str) -> Counter:
        counter = Counter(name, text, MODEL_LABELS, registry=self.registry)
        self._of_model.append(counter)
        return counter

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(name, text, MODEL_LABELS, buckets=buckets, registry=self.registry)
        self._of_model.append(histogram)
        return histogram
