"""POST /v1/batch: many requests of /generate in one, accepted all or none, each image of which ends by itself.

    read → choose → accept → wait for all → answer, or tell of each as it comes about

A browser opens six connections to a host, so that a contact sheet of sixty images could not share a batch otherwise.
Knows the front and HTTP, as `service.http.generate` does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import JobCancelled, NotAcceptable, Problem
from dit_serve.service.front.front import Front
from dit_serve.service.http.batch_reading import choose_all, read_batch
from dit_serve.service.http.batch_schemas import BATCH_STREAM, BatchAnswer, BatchRequest
from dit_serve.service.http.body import read_json_body
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.events import Telling
from dit_serve.service.http.generate import (
    Endpoint,
    documented_body,
    documented_deadline,
    image_fields,
    with_previews_seen,
)
from dit_serve.service.http.middleware import asks_for_images, request_id
from dit_serve.service.http.negotiate import EVENTS, JSON, choose_batch_representation
from dit_serve.service.http.openapi import documented_events, problems
from dit_serve.service.http.problems import problem_body
from dit_serve.service.http.protocols import Protocol
from dit_serve.service.http.reading import Wanted, make_jobs
from dit_serve.service.http.schemas import GeneratedImage
from dit_serve.service.http.work import NOT_KEPT, Work, check_size, deadline_at
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.wire.job import Job, JobEnd


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a batch.

    Args:
        index: of its request.
        image: of the images of that request.
        job: that makes it.
        model: what makes it.
    """

    index: int
    image: int
    job: Job
    model: ModelInfo


def batch_endpoint(front: Front, limits: HttpLimits) -> Endpoint:
    """What answers POST /v1/batch."""

    async def batch(request: Request) -> Response:
        arrived = asyncio.get_running_loop().time()
        asks_for_images(request, Protocol.DIT)
        body = await read_json_body(request, limits.max_body_bytes)
        form = read_batch(body, request.headers.getlist(DEADLINE_HEADER))
        if not form.has_faults:
            front.check_open()
        accept = request.headers.get("accept")
        is_seen = _is_stream(accept)
        wanted = choose_all(form, front.named, lambda each: with_previews_seen(each, is_seen=is_seen))
        representation = choose_batch_representation(accept)
        images = _images(wanted, request_id(request), front)
        jobs = [each.job for each in images]
        check_size(jobs, front, "requests")
        work = Work.accept(request, front, jobs, deadline_at(arrived, form.deadline_ms))
        if representation == EVENTS:
            return work.stream(_telling(images))
        return _answer(images, await work.each_end())

    return batch


def batch_router(endpoint: Endpoint) -> APIRouter:
    """The documentation of the endpoint that makes many images at once."""
    router = APIRouter(tags=["images"])
    forms = {"description": "What became of each request.", "content": {EVENTS: documented_events(BATCH_STREAM)}}

    @router.post(
        "/v1/batch",
        response_model=BatchAnswer,
        response_model_exclude_none=True,
        responses={200: forms, **problems(400, 401, 406, 413, 415, 422, 429, 500, 503, 504)},
        openapi_extra={"requestBody": documented_body(BatchRequest), "parameters": [documented_deadline()]},
    )
    async def batch(request: Request) -> Response:
        """Makes the images of 1 to 64 requests of `POST /generate` together: all are accepted, or none.

        Each image fails by itself, and the others go on. With `Accept: text/event-stream` the progress of each is told,
        and each image as it is ready. Where no image came, the answer in JSON is the problem of the first one.
        """
        return await endpoint(request)

    return router


def _is_stream(accept: str | None) -> bool:
    try:
        return choose_batch_representation(accept) == EVENTS
    except NotAcceptable:
        return False


def _images(wanted: Sequence[Wanted], identity: str, front: Front) -> list[Image]:
    return [
        Image(index, image, job, each.model)
        for index, each in enumerate(wanted)
        for image, job in enumerate(make_jobs(each, identity, front.next_job_id))
    ]


def _telling(images: Sequence[Image]) -> Telling:
    names = [{"index": each.index, "image": each.image} for each in images]

    def completed(number: int, end: JobEnd) -> dict[str, object]:
        return image_fields(images[number].job, end, images[number].model)

    return Telling(BATCH_STREAM, names, completed, goes_on=True)


def _answer(images: Sequence[Image], ends: Sequence[JobEnd | Problem]) -> Response:
    """The response with all that came.

    Raises:
        Problem: no image came, or the client went away.
    """
    failures = [end for end in ends if isinstance(end, Problem)]
    left = [problem for problem in failures if isinstance(problem, JobCancelled)]
    if left or len(failures) == len(ends):
        raise (left or failures)[0]
    pieces = _pieces(deque(zip(images, ends, strict=True)))
    return StreamingResponse(pieces, media_type=JSON, headers=NOT_KEPT)


async def _pieces(ended: deque[tuple[Image, JobEnd | Problem]]) -> AsyncIterator[bytes]:
    """A `BatchAnswer` in pieces, so that no image is there twice; each is let go of when it has been sent."""
    identity = ended[0][0].job.request_id
    yield b'{"request_id":%s,"results":[' % to_json(identity)
    while ended:
        index = ended[0][0].index
        yield b"{" if index == 0 else b",{"
        for piece in _result(ended, index):
            yield piece
            await asyncio.sleep(0)  # a reader that takes all at once would keep everybody else waiting
        yield b"}"
    yield b"]}"


def _result(ended: deque[tuple[Image, JobEnd | Problem]], index: int) -> Iterator[bytes]:
    """The members of one request's `BatchResult`."""
    images, problem = 0, None
    while ended and ended[0][0].index == index:
        each, end = ended.popleft()
        if isinstance(end, Problem):
            problem = problem or problem_body(end, each.job.request_id)
            continue
        yield b"," if images else b'"images":['
        yield to_json(GeneratedImage(**image_fields(each.job, end, each.model)))
        images += 1
    if images:
        yield b"]"
    if problem is not None:
        yield b'%s"problem":%s' % (b"," if images else b"", to_json(problem))
