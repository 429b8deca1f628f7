"""The engine loop: admit → step → retire, for every denoising step.

One thread runs one loop over all models of one device. Samples join and leave between two steps; those of one model
share a forward pass, and the models take turns. A step that raises is halved until only the samples that cause it
fail; where memory was what ran out, the batches of that model stay smaller. Finished samples are encoded in other
threads while the loop goes on. They are decoded in one of their own where a card does the work, else in the loop, one
at a time, so that whoever comes or leaves meanwhile waits for one decoding and not for all.

The engine declares the door to the models itself (`Door`) and knows no HTTP, no process and
no tensor: a sample and its pixels are opaque here. What happens is told through `post`.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from dit_serve.models.errors import is_device_lost
from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.engine.bisect import Salvage, bisect
from dit_serve.service.engine.hangs import Pulse
from dit_serve.service.engine.previews import Previews
from dit_serve.service.engine.queue import JobQueue
from dit_serve.service.engine.rows import Row, Sample, count_sequences, row_timings, split_rows
from dit_serve.service.wire.job import Event, Job, JobEnd, Outcome, Shrunk, Split, Started, Stepped, Timings


class Door(Protocol):
    """What the engine asks of a model, from its own thread; `decode` runs in another one, beside the others."""

    @property
    def modulation_counts(self) -> tuple[int, int]:
        """Rows of modulations that steps found kept, and that they had to compute, since the start."""

    @property
    def max_sequences(self) -> int:
        """The most sequences that a step may have."""

    @property
    def info(self) -> ModelInfo:
        """What it is."""

    def warm_up(self) -> None:
        """Prepares what makes later steps fast; called once, before the first sample."""

    def begin(self, spec: SampleSpec, /) -> Sample:
        """One image: its latents, its table of steps, its generator."""

    def step(self, samples: list[Any], /) -> None:
        """One denoising step for every sample in one forward pass; if it raises, no sample has changed."""

    def preview(self, sample: Any, /) -> Callable[[], Any]:
        """A cheap look at the image as it stands: what gives its pixels, later and in any thread."""

    def decode(self, samples: list[Any], /) -> Sequence[Any]:
        """(H, W, 3) uint8 pixels of finished samples, on the CPU."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give up this job, wherever it is."""

    job_id: int


class Stop:
    """End the loop; what waits or runs is left as it is."""


Inbox = queue.SimpleQueue[Job | Cancel | Stop | BaseException]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How batches are built; see `service.settings` for the meaning of the first two.

    `decodes_beside` decodes in a thread of its own, beside the next steps: right where a card does the work. On a
    processor both would want the same cores and the same interpreter, and a third fewer images would come out.
    """

    max_batch_sequences: int = 16
    fill_across_guidance: bool = True
    decodes_beside: bool = True
    encode_threads: int = 2


class Engine:
    """Runs jobs through doors.

    Args:
        doors: the models by name.
        encode: makes the PNG of a job's pixels; runs in threads.
        encode_preview: makes the PNG of a preview's pixels; runs in threads. None for no previews.
        post: takes every event; called from the loop and, when jobs end, from the other threads.
        options: how batches are built.
        inbox: where jobs, cancellations and the stop arrive, from any thread.
        pulse: told of all work that is asked of a door.

    Attributes:
        places: the most rows that a batch of each model may have; fewer once memory ran out.
    """

    def __init__(
        self,
        doors: Mapping[str, Door],
        *,
        inbox: Inbox,
        encode: Callable[[Job, Any], bytes],
        post: Callable[[Event], None],
        options: EngineOptions,
        pulse: Pulse,
        encode_preview: Callable[[Any], bytes] | None = None,
    ) -> None:
        self._inbox = inbox
        self._doors = doors
        self._encode = encode
        self._post = post
        self._pulse = pulse
        self.places = {name: min(options.max_batch_sequences, door.max_sequences) for name, door in doors.items()}
        self._queue = JobQueue(fill_across_guidance=options.fill_across_guidance)
        self._rows: dict[str, list[Row]] = {name: [] for name in doors}
        self._undecoded: list[Row] = []
        self._last_turn = dict.fromkeys(doors, 0)
        self._turn = 0
        self._cache_told = dict.fromkeys(doors, (0, 0))
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decode") if options.decodes_beside else None
        self._encoders = ThreadPoolExecutor(options.encode_threads, thread_name_prefix="encode-png")
        self._previews = Previews(encode_preview, post, self._encoders)

    def run(self) -> None:
        """Serves the inbox until a Stop arrives there; raises what a lost device does, for another process to go on."""
        while self._receive():
            if self._undecoded:
                self._decode([self._undecoded.pop(0)])
            elif (model := self._whose_turn()) is not None:
                self._admit(model)
                self._step(model)
                self._retire(model)
        if self._decoder is not None:
            self._decoder.shutdown()
        self._encoders.shutdown()

    def _receive(self) -> bool:
        """Takes in all messages, waiting for one only when there is nothing to do. False after a Stop."""
        while True:
            try:
                message = self._inbox.get(block=not self._undecoded and self._whose_turn() is None)
            except queue.Empty:
                return True
            match message:
                case Stop():
                    return False
                case Cancel(job_id):
                    self._cancel(job_id)
                case BaseException():
                    raise message
                case job:
                    self._push(job)

    def _push(self, job: Job) -> None:
        try:
            self._queue.push(job)
        except Exception as error:  # a defect in the grouping must not take the others down, again and again
            self._post(_failed(job, error, Timings()))

    def _cancel(self, job_id: int) -> None:
        if self._queue.cancel(job_id) is not None:
            self._post(JobEnd(job_id, Outcome.CANCELLED))
            return
        for rows in (self._undecoded, *self._rows.values()):
            for row in rows:
                if row.job.id == job_id:
                    rows.remove(row)
                    self._post(JobEnd(job_id, Outcome.CANCELLED, timings=row_timings(row)))
                    return

    def _whose_turn(self) -> str | None:
        """The model with work whose last turn is longest ago, the one with the older job on a tie."""
        able = [model for model, rows in self._rows.items() if rows or self._queue.age(model) is not None]
        return min(able, key=lambda model: (self._last_turn[model], self._queue.age(model) or 0), default=None)

    def _admit(self, model: str) -> None:
        rows = self._rows[model]
        places = self.places[model] - count_sequences(rows)
        scale = rows[0].job.spec.guidance_scale if rows else None
        jobs = self._queue.take(model, places, running_scale=scale)
        if not jobs:
            return
        began_at = time.monotonic()
        self._post(Started(tuple(job.id for job in jobs), began_at))  # before what could take the process down
        for job in jobs:
            try:
                with self._pulse.work(f"beginning an image of {model}", 1):
                    sample = self._doors[model].begin(job.spec)
            except Exception as error:
                if is_device_lost(error):
                    raise
                self._post(_failed(job, error, Timings()))
            else:
                rows.append(Row(job, sample, began_at))

    def _step(self, model: str) -> None:
        """One step for every row: in one forward pass, unless memory has been too small for as many."""
        self._turn += 1
        self._last_turn[model] = self._turn
        rows, self._rows[model] = self._rows[model], []
        for batch in list(split_rows(rows, self.places[model])):
            self._rows[model] += self._step_batch(model, batch)

    def _step_batch(self, model: str, rows: list[Row]) -> list[Row]:
        """The rows that have taken the step; of the others it has been told why not."""

        def step(some: list[Row]) -> None:
            with self._pulse.work(f"a step of {model}", count_sequences(some)):
                self._doors[model].step([row.sample for row in some])

        began = time.monotonic()
        salvage = bisect(rows, step)
        seconds = time.monotonic() - began
        if salvage.too_many:
            self._shrink(model, count_sequences(rows) * salvage.too_many // (2 * len(rows)))
        self._tell_splits(model, salvage)
        for row, error in salvage.failures:
            self._post(_failed(row.job, error, row_timings(row)))
        if salvage.done:
            self._tell_step(model, salvage.done, seconds)
        for row in salvage.done:
            if row.job.preview_every:
                with self._pulse.work(f"a preview of {model}", 1):
                    self._previews.take(self._doors[model], row.job, row.sample)
        return salvage.done

    def _tell_step(self, model: str, rows: list[Row], seconds: float) -> None:
        counts, told = self._doors[model].modulation_counts, self._cache_told[model]
        self._cache_told[model] = counts
        ids, sequences = tuple(row.job.id for row in rows), count_sequences(rows)
        hits, misses = counts[0] - told[0], counts[1] - told[1]
        self._post(Stepped(ids, model, sequences, seconds, time.monotonic(), self.places[model], hits, misses))

    def _tell_splits(self, model: str, salvage: Salvage[Row]) -> None:
        if salvage.bisections or salvage.memory_splits:
            self._post(Split(model, salvage.bisections, salvage.memory_splits))

    def _shrink(self, model: str, sequences: int) -> None:
        self.places[model] = max(2, min(sequences, self.places[model]))
        self._post(Shrunk(model, self.places[model]))

    def _retire(self, model: str) -> None:
        """Takes what is done out of the batch; where it is decoded beside, the next step begins at once."""
        done = [row for row in self._rows[model] if row.sample.is_done]
        if done:
            self._rows[model] = [row for row in self._rows[model] if not row.sample.is_done]
            for row in done:
                row.denoised_at = time.monotonic()
            if self._decoder is None:
                self._undecoded += done
            else:
                self._decoder.submit(self._decode, done).add_done_callback(self._pass_on)

    def _pass_on(self, decoding: Future[None]) -> None:
        """Lets the loop raise what ended the work of the decoding thread."""
        if (error := decoding.exception()) is not None:
            self._inbox.put(error)

    def _decode(self, rows: list[Row]) -> None:
        model = rows[0].job.model
        pixels: dict[int, Any] = {}

        def decode(some: list[Row]) -> None:
            with self._pulse.work(f"decoding an image of {model}", len(some)):
                images = self._doors[model].decode([row.sample for row in some])
            pixels.update((row.job.id, image) for row, image in zip(some, images, strict=True))

        salvage = bisect(rows, decode)
        self._tell_splits(model, salvage)
        for row, error in salvage.failures:
            self._post(_failed(row.job, error, row_timings(row)))
        for row in salvage.done:
            self._encoders.submit(self._finish, row.job, pixels[row.job.id], row_timings(row))

    def _finish(self, job: Job, pixels: Any, timings: Timings) -> None:
        began = time.monotonic()
        try:
            png = self._encode(job, pixels)
        except Exception as error:
            self._post(_failed(job, error, timings))
            return
        timings = replace(timings, encode=time.monotonic() - began)
        self._post(JobEnd(job.id, Outcome.COMPLETED, png, timings))


def _failed(job: Job, error: Exception, timings: Timings) -> JobEnd:
    fields = {"event": "job_failed", "job_id": job.id, "request_id": job.request_id}
    logging.getLogger("dit.engine").error("a job failed", exc_info=error, extra={"fields": fields})
    return JobEnd(job.id, Outcome.FAILED, timings=timings, reason=f"{type(error).__name__}: {error}")
