"""POST /v1/images/generations: read → choose → accept → wait → answer, or tell as it comes about.

What is answered depends on the body alone: OpenAI's clients send Accept: application/json whatever they want. Knows the
front and HTTP, as `service.http.generate` does.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dit_serve.models.options import ModelInfo
from dit_serve.service.front.front import Front
from dit_serve.service.http.body import read_json_body
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.generate import (
    Endpoint,
    documented_body,
    documented_deadline,
    seed_headers,
    timing_headers,
)
from dit_serve.service.http.middleware import asks_for_images, request_id
from dit_serve.service.http.negotiate import EVENTS, JSON
from dit_serve.service.http.openai.pictures import PictureStyle, picture_fields
from dit_serve.service.http.openai.reading import choose_images, read_images
from dit_serve.service.http.openai.schemas import IMAGES_STREAM, ImagesAnswer, ImagesRequest, Picture
from dit_serve.service.http.openai.stream import PictureTeller
from dit_serve.service.http.openapi import documented_events, problems
from dit_serve.service.http.protocols import OPENAI_IMAGES, Protocol
from dit_serve.service.http.reading import make_jobs
from dit_serve.service.http.work import Work, deadline_at
from dit_serve.service.settings import Settings
from dit_serve.service.wire.job import Job, JobEnd


def images_endpoint(front: Front, settings: Settings) -> Endpoint:
    """What answers POST /v1/images/generations."""
    most_bytes, by_phrase = settings.limits.max_body_bytes, settings.prompts == "phrase"

    async def generations(request: Request) -> Response:
        arrived = asyncio.get_running_loop().time()
        asks_for_images(request, Protocol.OPENAI)
        body = await read_json_body(request, most_bytes)
        asked = read_images(body, request.headers.getlist(DEADLINE_HEADER))
        if not asked.form.faults:
            front.check_open()
        wanted = choose_images(asked, front.named, by_phrase=by_phrase)
        jobs = make_jobs(wanted, request_id(request), front.next_job_id)
        work = Work.accept(request, front, jobs, deadline_at(arrived, asked.form.deadline_ms))
        headers = seed_headers(jobs)
        if asked.is_stream:
            return work.stream(PictureTeller(jobs, wanted.model, asked.style, asked.partial_images), headers)
        return await _answer(jobs, await work.ends(), wanted.model, asked.style, headers)

    return generations


def images_router(endpoint: Endpoint) -> APIRouter:
    """The documentation of the endpoint."""
    router = APIRouter(tags=["images, as OpenAI's clients ask for them"])
    forms = {"description": "The images.", "content": {EVENTS: documented_events(IMAGES_STREAM)}}

    @router.post(
        OPENAI_IMAGES,
        response_model=ImagesAnswer,
        responses={200: forms, **problems(400, 401, 404, 413, 415, 429, 500, 503, 504)},
        openapi_extra={"requestBody": documented_body(ImagesRequest), "parameters": [documented_deadline()]},
    )
    async def generations(request: Request) -> Response:
        """Makes images of a class, for OpenAI's clients: `OpenAI(base_url="…/v1").images.generate(prompt="…")`.

        The prompt names a class. The PNG of a request is that of `POST /generate`, byte for byte. With `stream` the
        answer is a stream of events, else JSON; `Accept` changes nothing.
        """
        return await endpoint(request)

    return router


async def _answer(
    jobs: Sequence[Job], ends: Sequence[JobEnd], model: ModelInfo, style: PictureStyle, headers: dict[str, str]
) -> Response:
    """The response with the images; in pieces if they are many, so that their encoding keeps nobody else waiting."""
    headers = headers | timing_headers(ends)
    files = [await style.file_of(end.png) for end in ends]
    whole = ImagesAnswer(created=int(time.time()), data=[], **style.said(model))
    pieces = _pieces(whole, deque(zip(jobs, ends, files, strict=True)), model)
    if len(jobs) == 1:
        return Response(b"".join([piece async for piece in pieces]), media_type=JSON, headers=headers)
    return StreamingResponse(pieces, media_type=JSON, headers=headers)


async def _pieces(
    whole: ImagesAnswer, made: deque[tuple[Job, JobEnd, bytes]], model: ModelInfo
) -> AsyncIterator[bytes]:
    """The answer in JSON, each image a piece; each is let go of when it has been sent."""
    yield to_json(whole).removesuffix(b"]}")  # `data` stands last
    is_first = True
    while made:
        picture = to_json(Picture(**picture_fields(*made.popleft(), model)))
        yield picture if is_first else b"," + picture
        is_first = False
        await asyncio.sleep(0)  # a reader that takes all at once would keep everybody else waiting
    yield b"]}"
