"""Spans of requests and of their images: who is beneath whom, and that there are none unless asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dit_serve.models.options import SampleSpec
from dit_serve.service.telemetry.traces import record_job
from dit_serve.service.wire.job import Job, JobEnd, Outcome, Timings
from tests.service.running import fake_command, running

JOB = Job(7, "a-request", "fake-64", SampleSpec(1, 2, 3, 4.0, "ddim"))
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_jobs_stages_lie_end_to_end_beneath_it_and_it_beneath_its_request(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    request = provider.get_tracer("test").start_span("request")
    end = JobEnd(7, Outcome.COMPLETED, timings=Timings(0.5, 2.0, 0.25, 0.125))
    record_job(JOB, end, trace.set_span_in_context(request), provider)
    found = spans(exporter)
    job = found.pop("job")
    assert job.parent == request.get_span_context()
    assert job.attributes is not None
    assert (job.attributes["dit.request_id"], job.attributes["dit.outcome"]) == ("a-request", "completed")
    assert list(found) == ["queue", "denoise", "decode", "encode"]
    assert all(stage.parent == job.context for stage in found.values())
    assert all(before.end_time == after.start_time for before, after in pairwise(found.values()))
    assert (found["queue"].start_time, found["encode"].end_time) == (job.start_time, job.end_time)
    lengths = [(stage.end_time or 0) - (stage.start_time or 0) for stage in found.values()]
    assert lengths == [500_000_000, 2_000_000_000, 250_000_000, 125_000_000]


def test_a_failed_job_is_an_error_without_the_stages_that_it_did_not_reach(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    request = provider.get_tracer("test").start_span("request")
    record_job(JOB, JobEnd(7, Outcome.FAILED, timings=Timings(0.5, 2.0)), trace.set_span_in_context(request), provider)
    found = spans(exporter)
    assert found["job"].status.status_code is trace.StatusCode.ERROR
    assert found.keys() == {"job", "queue", "denoise"}


def test_a_job_of_a_request_that_is_not_traced_leaves_no_span(
    provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    record_job(JOB, JobEnd(7, Outcome.COMPLETED, timings=Timings(1.0)), Context(), provider)
    assert exporter.get_finished_spans() == ()


@contextmanager
def collector() -> Iterator[tuple[str, queue.SimpleQueue[bytes]]]:
    """A collector on a free port of the loopback: its address, and what was sent to it."""
    bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def collected(bodies: queue.SimpleQueue[bytes]) -> list[Span]:
    found = []
    while not bodies.empty():
        for resource in ExportTraceServiceRequest.FromString(bodies.get()).resource_spans:
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def test_a_request_is_traced_from_its_caller_down_to_its_images() -> None:
    """Through a real server, a real exporter and a collector; probes are left out."""
    with collector() as (address, bodies):
        with running(fake_command(), OTEL_EXPORTER_OTLP_ENDPOINT=address, OTEL_SERVICE_NAME="dit-serve") as server:
            with server.client() as client:
                generate(client, n=2)
                client.get("/livez")
            assert server.terminate() == 0
        found = collected(bodies)
    by_name: dict[str, list[Span]] = {}
    for span in found:
        assert span.trace_id.hex() == TRACE
        by_name.setdefault(span.name, []).append(span)
    assert {name: len(each) for name, each in by_name.items()} == {
        "POST /generate": 1, "job": 2, "queue": 2, "denoise": 2, "decode": 2, "encode": 2
    }
    [request] = by_name["POST /generate"]
    assert request.parent_span_id.hex() == CALLER
    assert "an-id" in [each.value.string_value for each in request.attributes if each.key == "dit.request_id"]
    assert {job.parent_span_id for job in by_name["job"]} == {request.span_id}
    for stage in ("queue", "denoise", "decode", "encode"):
        assert {span.parent_span_id for span in by_name[stage]} == {job.span_id for job in by_name["job"]}


def generate(client: httpx.Client, n: int) -> None:
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "x-request-id": "an-id", "accept": "application/json"}
    answer = client.post("/generate", json={"class_id": 1, "steps": 3, "n": n}, headers=headers)
    assert answer.status_code == 200, answer.text


def test_nothing_of_the_sdk_is_imported_and_nothing_traced_unless_an_exporter_is_named() -> None:
    with running(fake_command()) as server:
        with server.client() as client:
            generate(client, n=1)
        assert server.terminate() == 0
        [modules] = [line["modules"] for line in server.seen if line.get("event") == "modules"]
    assert "opentelemetry.trace" in modules
    assert not [name for name in modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]
