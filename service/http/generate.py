"""POST /generate: read → choose → accept → wait → answer, or tell as it comes about.

Knows the front and HTTP; what an image is made of lies behind the front.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError
from dit_serve.service.front.front import Front
from dit_serve.service.http.body import read_json_body
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.events import Telling
from dit_serve.service.http.middleware import asks_for_images, request_id
from dit_serve.service.http.negotiate import EVENTS, JSON, PNG, choose_representation, is_stream
from dit_serve.service.http.openapi import documented_events, problems
from dit_serve.service.http.protocols import Protocol
from dit_serve.service.http.reading import Form, choose, make_jobs, read_form
from dit_serve.service.http.schemas import (
    MAX_DEADLINE_MS,
    STREAM,
    GenerateAnswer,
    GeneratedImage,
    GenerateRequest,
    Timing,
)
from dit_serve.service.http.work import NOT_KEPT, Work, deadline_at
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.image.receipt import make_receipt
from dit_serve.service.version import version
from dit_serve.service.wire.job import Job, JobEnd, Timings

Endpoint = Callable[[Request], Awaitable[Response]]


def generate_endpoint(front: Front, limits: HttpLimits) -> Endpoint:
    """What answers POST /generate."""

    async def generate(request: Request) -> Response:
        arrived = asyncio.get_running_loop().time()
        asks_for_images(request, Protocol.DIT)
        body = await read_json_body(request, limits.max_body_bytes)
        accept = request.headers.get("accept")
        form = read_form(body, request.headers.getlist(DEADLINE_HEADER))
        form = with_previews_seen(form, is_seen=is_stream(accept, form.request.n))
        if not form.faults:
            front.check_open()
        wanted = choose(form, front.named)
        representation = choose_representation(accept, wanted.request.n)
        jobs = make_jobs(wanted, request_id(request), front.next_job_id)
        work = Work.accept(request, front, jobs, deadline_at(arrived, form.deadline_ms))
        if representation == EVENTS:
            return work.stream(_telling(jobs, wanted.model), seed_headers(jobs))
        return answer(representation, jobs, await work.ends(), wanted.model)

    return generate


def generate_router(endpoint: Endpoint) -> APIRouter:
    """The documentation of the one endpoint that makes images."""
    router = APIRouter(tags=["images"])

    @router.post(
        "/generate",
        response_model=GenerateAnswer,
        responses={200: _documented_forms(), **problems(400, 401, 406, 413, 415, 422, 429, 500, 503, 504)},
        openapi_extra={"requestBody": documented_body(GenerateRequest), "parameters": [documented_deadline()]},
    )
    async def generate(request: Request) -> Response:
        """Makes images of a class. One image comes as PNG, or as JSON if that is preferred; several come as JSON.

        With `Accept: text/event-stream` their progress is told, and each image as it is ready.
        Every PNG carries its receipt in text chunks named `dit:…`; `dit repro image.png` makes it again.
        """
        return await endpoint(request)

    return router


def answer(representation: str, jobs: Sequence[Job], ends: Sequence[JobEnd], model: ModelInfo) -> Response:
    """The response with its images."""
    headers = seed_headers(jobs) | timing_headers(ends)
    if representation == PNG:
        return Response(ends[0].png, media_type=PNG, headers=headers)
    images = [GeneratedImage(**image_fields(job, end, model)) for job, end in zip(jobs, ends, strict=True)]
    return Response(to_json(GenerateAnswer(jobs[0].request_id, images)), media_type=JSON, headers=headers)


def with_previews_seen(form: Form, *, is_seen: bool) -> Form:
    """The form, with one fault more if it asks for previews and nobody would see them."""
    if form.request.preview_every == 0 or is_seen:
        return form
    fault = FieldError("preview_every", f"previews are shown in a stream alone: send Accept: {EVENTS}, or leave it out")
    return replace(form, faults=(*form.faults, fault))


def seed_headers(jobs: Sequence[Job]) -> dict[str, str]:
    """The headers of an answer with these images, known when they are accepted."""
    seeds = ", ".join(str(job.spec.seed) for job in jobs)
    return {"X-Seed": seeds, **NOT_KEPT}


def timing_headers(ends: Sequence[JobEnd]) -> dict[str, str]:
    """Server-Timing (W3C), of the image that took longest."""
    slowest = max((end.timings for end in ends), key=lambda timings: timings.total)
    stages = _milliseconds(slowest).items()
    return {"Server-Timing": ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in stages)}


def _telling(jobs: Sequence[Job], model: ModelInfo) -> Telling:
    names = [{"index": index} for index in range(len(jobs))]
    return Telling(STREAM, names, lambda index, end: image_fields(jobs[index], end, model))


def _documented_forms() -> dict[str, Any]:
    png = {"type": "string", "contentMediaType": PNG}
    return {"description": "The images.", "content": {PNG: {"schema": png}, EVENTS: documented_events(STREAM)}}


def documented_deadline() -> dict[str, Any]:
    """The documentation of the header."""
    schema = {"type": "integer", "minimum": 1, "maximum": MAX_DEADLINE_MS}
    text = "Milliseconds that the request may take, counted from its arrival; as `deadline_ms` in the body."
    return {"name": DEADLINE_HEADER, "in": "header", "required": False, "schema": schema, "description": text}


def documented_body(kind: type[BaseModel]) -> dict[str, Any]:
    """The documentation of a body, whose schema the framework cannot see."""
    return {"required": True, "content": {JSON: {"schema": kind.model_json_schema(by_alias=True)}}}


def image_fields(job: Job, end: JobEnd, model: ModelInfo) -> dict[str, Any]:
    """The fields of a `GeneratedImage`."""
    return {**made_how(job, end, model), "b64_png": base64.b64encode(end.png).decode("ascii")}


def made_how(job: Job, end: JobEnd, model: ModelInfo) -> dict[str, Any]:
    """What is told with every image beside itself: its receipt, and how long it took."""
    receipt = make_receipt(job.spec, model, version())
    return {**asdict(receipt), "timing_ms": Timing(**_milliseconds(end.timings))}


def _milliseconds(timings: Timings) -> dict[str, float]:
    return {stage: round(1e3 * seconds, 3) for stage, seconds in timings.stages().items()}
