"""POST /generate: read → choose → accept → wait → answer.

Knows the front and HTTP; what an image is made of lies behind the front.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.errors import BodyTooLarge, JobCancelled, Problem, UnsupportedMediaType
from service.front import Front
from service.job import Job, JobEnd, Timings
from service.messages import ModelInfo
from service.middleware import request_id
from service.negotiate import JSON, PNG, choose_representation
from service.openapi import problems
from service.receipt import make_receipt
from service.schemas import (
    GenerateAnswer,
    GeneratedImage,
    GenerateRequest,
    Timing,
    choose_model,
    make_jobs,
    parse_generate,
)
from service.version import version


def generate_router(front: Front, max_body_bytes: int) -> APIRouter:
    """The router of the one endpoint that makes images."""
    router = APIRouter(tags=["images"])

    @router.post(
        "/generate",
        response_model=GenerateAnswer,
        responses={200: _documented_png(), **problems(400, 406, 413, 415, 422, 429, 500, 503, 504)},
        openapi_extra={"requestBody": _documented_body()},
    )
    async def generate(request: Request) -> Response:
        """Makes images of a class. One image comes as PNG, or as JSON if asked for; several come as JSON.

        Every PNG carries its receipt in text chunks named `dit:…`; `dit repro image.png` makes it again.
        """
        asked = parse_generate(await read_json_body(request, max_body_bytes))
        front.check_open()
        model = choose_model(asked, front.models)
        representation = choose_representation(request.headers.get("accept"), asked.n)
        jobs = make_jobs(asked, model, request_id(request), front.next_job_id)
        ends = await unless_client_leaves(request, front.results(front.submit(jobs)))
        return answer(representation, jobs, ends, model)

    return router


async def read_json_body(request: Request, max_bytes: int) -> bytes:
    """The body of a request that says it is JSON.

    Raises:
        UnsupportedMediaType: it says something else, or nothing.
        JobCancelled: the client went away.
        BodyTooLarge: it is, or says it will be, larger than allowed; the rest is not read.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != JSON:
        raise UnsupportedMediaType(f"send Content-Type: {JSON} (curl: -H 'Content-Type: {JSON}')")
    too_large = BodyTooLarge(f"a body may have {max_bytes} bytes")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except ClientDisconnect:
        raise JobCancelled("the client went away") from None
    return bytes(body)


async def unless_client_leaves(request: Request, work: Coroutine[Any, Any, list[JobEnd]]) -> list[JobEnd]:
    """The result of the work, which is cancelled when the client closes its connection.

    Raises:
        JobCancelled: the client went away.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_client_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise JobCancelled("the client went away")
    finally:
        for task in (working, leaving):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Problem):
                await task


def answer(representation: str, jobs: Sequence[Job], ends: Sequence[JobEnd], model: ModelInfo) -> Response:
    """The response with its images."""
    headers = {
        "X-Seed": ", ".join(str(job.seed) for job in jobs),
        "Server-Timing": _server_timing(max((end.timings for end in ends), key=_total)),
        "Vary": "Accept",
        "Cache-Control": "no-store",
    }
    if representation == PNG:
        return Response(ends[0].png, media_type=PNG, headers=headers)
    images = [_image(job, end, model) for job, end in zip(jobs, ends, strict=True)]
    body = GenerateAnswer(request_id=jobs[0].request_id, images=images)
    return Response(body.model_dump_json(), media_type=JSON, headers=headers)


def _documented_png() -> dict[str, Any]:
    png = {"type": "string", "contentMediaType": PNG}
    return {"description": "The images.", "content": {PNG: {"schema": png}}}


def _documented_body() -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": GenerateRequest.model_json_schema(by_alias=True)}}}


async def _client_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _image(job: Job, end: JobEnd, model: ModelInfo) -> GeneratedImage:
    receipt = make_receipt(job, model, version())
    stages = Timing(**{stage: milliseconds for stage, milliseconds in _milliseconds(end.timings)})
    return GeneratedImage(b64_png=base64.b64encode(end.png).decode("ascii"), timing_ms=stages, **asdict(receipt))


def _milliseconds(timings: Timings) -> list[tuple[str, float]]:
    return [
        ("queue", round(1e3 * timings.queue_seconds, 3)),
        ("denoise", round(1e3 * timings.denoise_seconds, 3)),
        ("decode", round(1e3 * timings.decode_seconds, 3)),
        ("encode", round(1e3 * timings.encode_seconds, 3)),
    ]


def _server_timing(timings: Timings) -> str:
    """Server-Timing (W3C), of the image that took longest."""
    return ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in _milliseconds(timings))


def _total(timings: Timings) -> float:
    return timings.queue_seconds + timings.denoise_seconds + timings.decode_seconds + timings.encode_seconds
