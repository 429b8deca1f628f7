"""What is measured as it happens, for Prometheus: jobs by stage, steps, batches, and what befell the workers.

Recorded in the HTTP process from what the workers tell, so that totals outlive a worker. What can be
read at any time (requests, the queue, the workers' state) is not counted a second time: `service.front.state_metrics`
reads it when it is asked for. Labels are of few values: resolutions, stages, numbers of workers; never
an id, a seed, a class or anything that a client may choose freely.

The registry is passed in. Knows no HTTP and no queue.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics import MetricWrapperBase

from dit_serve.service.wire.job import JobEnd, Split, Stepped

STAGE_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
STEP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
RETRY_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 600)
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
        stage_help = "Seconds of a completed image: wait, first_step (from acceptance), denoise, decode, encode, total."
        self._stage_seconds = Histogram(
            "dit_job_stage_seconds", stage_help, ("resolution", "stage"), buckets=STAGE_BUCKETS, registry=registry
        )
        self._images = self._counter("dit_images", "Images made.")
        self._pixels = self._counter("dit_pixels", "Pixels of the images made.")
        self._previews = self._counter("dit_previews", "Looks at unfinished images.")
        self._steps = self._counter("dit_denoising_steps", "Denoising steps, counted for each image of a batch.")
        self._step_seconds = self._histogram("dit_step_seconds", "Seconds of a batch's step.", STEP_BUCKETS)
        self._batch = self._histogram("dit_batch_sequences", "Sequences (rows) of a batch.", BATCH_BUCKETS)
        self._places = self._counter("dit_batch_places", "Most sequences that the batches made could have had.")
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

    def expect_models(self, resolutions: Iterable[int]) -> None:
        """Shows zeros for models that have done nothing yet."""
        for resolution in map(str, resolutions):
            for metric in self._of_model:
                metric.labels(resolution)
            for stage in STAGES:
                self._stage_seconds.labels(resolution, stage)

    def stepped(self, event: Stepped) -> None:
        """A batch has made a step."""
        resolution = str(event.resolution)
        self._steps.labels(resolution).inc(len(event.job_ids))
        self._step_seconds.labels(resolution).observe(event.seconds)
        self._batch.labels(resolution).observe(event.sequences)
        self._places.labels(resolution).inc(event.places)
        self._hits.labels(resolution).inc(event.cache_hits)
        self._misses.labels(resolution).inc(event.cache_misses)

    def split(self, event: Split) -> None:
        """A batch was done in parts."""
        self._bisections.labels(str(event.resolution)).inc(event.bisections)
        self._memory_splits.labels(str(event.resolution)).inc(event.memory_splits)

    def previewed(self, resolution: int) -> None:
        """A look at an image came."""
        self._previews.labels(str(resolution)).inc()

    def completed(self, resolution: int, end: JobEnd, first_step_seconds: float) -> None:
        """An image is made.

        Args:
            resolution: its side in pixels.
            end: with the seconds of each stage, which together are all since its acceptance.
            first_step_seconds: from its acceptance to the end of its first step.
        """
        stages, label = end.timings, str(resolution)
        self._images.labels(label).inc()
        self._pixels.labels(label).inc(resolution**2)
        seconds = (
            stages.queue_seconds, first_step_seconds, stages.denoise_seconds, stages.decode_seconds,
            stages.encode_seconds, stages.total_seconds,
        )  # fmt: skip
        for stage, value in zip(STAGES, seconds, strict=True):
            self._stage_seconds.labels(label, stage).observe(value)

    def refused(self, reason: str, retry_after: int | None) -> None:
        """A request for images was refused, and told when to come back or not."""
        self._refused.labels(reason).inc()
        if retry_after is not None:
            self._retry_after.observe(retry_after)

    def worker_lost(self, number: int, replays: int) -> None:
        """A worker's process ended; so many of its jobs are sent again."""
        self._restarts.labels(str(number)).inc()
        self._replays.inc(replays)

    def _counter(self, name: str, text: str) -> Counter:
        counter = Counter(name, text, ("resolution",), registry=self.registry)
        self._of_model.append(counter)
        return counter

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        histogram = Histogram(name, text, ("resolution",), buckets=buckets, registry=self.registry)
        self._of_model.append(histogram)
        return histogram
