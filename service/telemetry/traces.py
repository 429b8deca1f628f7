"""Traces by OpenTelemetry: FastAPI's own span for a request, and beneath it those of the images that it asked for.

    POST /generate ─ job ─┬ queue     until it ran, restarts of a worker included
                          ├ denoise
                          ├ decode
                          └ encode

Off unless an exporter is named by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT) and the extra `traces` is
installed; then nothing of its SDK is even imported. The worker process knows nothing of traces: the stages' seconds
come back with each job's end, and spans are made of them here. They are laid one after the other, although an image
may wait a moment between two stages: that time is counted in `queue`.

References: https://opentelemetry.io/docs/specs/otel/trace/api/; W3C Trace Context, whose `traceparent` is honoured.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context, get_current

from dit_serve.service.version import version
from dit_serve.service.wire.job import Job, JobEnd, Outcome

UNTRACED = ("/livez", "/readyz", "/health", "/v1/status")  # asked every few seconds by machines and open pages


def request_telemetry() -> TelemetryConfig:
    """What FastAPI shall do: spans of requests, exported if the environment names an exporter; no metrics, no logs."""
    return {
        "auto_configure": True,
        "tracing": True,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": _is_untraced,
    }


def current_context() -> Context:
    """The context of the request that is being answered, for `record_job`."""
    return get_current()


def name_request(request_id: str) -> None:
    """Writes the request's id, by which the logs know it, on its span."""
    trace.get_current_span().set_attribute("dit.request_id", request_id)


def record_job(
    job: Job, end: JobEnd, context: Context, provider: trace.TracerProvider | None = None
) -> None:
    """Makes the spans of a job that has ended just now; does nothing if its request is not traced.

    Args:
        job: what was asked.
        end: how it ended, with the whole wait in its timings.
        context: of its request.
        provider: where the spans go; the process's own if None.
    """
    if not trace.get_current_span(context).get_span_context().trace_flags.sampled:
        return
    tracer = trace.get_tracer("dit-serve", version(), provider)
    stages = end.timings.stages()
    finish = time.time_ns()
    begin = finish - sum(map(_nanoseconds, stages.values()))
    span = tracer.start_span("job", context, attributes=_attributes(job, end), start_time=begin)
    if end.outcome is Outcome.FAILED:
        span.set_status(trace.StatusCode.ERROR)
    beneath = trace.set_span_in_context(span, context)
    for name, seconds in stages.items():
        if seconds > 0:
            tracer.start_span(name, beneath, start_time=begin).end(begin + _nanoseconds(seconds))
            begin += _nanoseconds(seconds)
    span.end(finish)


def _attributes(job: Job, end: JobEnd) -> dict[str, str | int | float]:
    return {
        "dit.job_id": job.id,
        "dit.request_id": job.request_id,
        "dit.outcome": end.outcome.value,
        "dit.model": job.model,
        "dit.steps": job.spec.steps,
        "dit.sampler": job.spec.sampler,
        "dit.guidance_scale": job.spec.guidance_scale,
    }


def _nanoseconds(seconds: float) -> int:
    return round(1e9 * seconds)


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return str(scope.get("path")).endswith(UNTRACED)  # with a proxy's prefix or without
