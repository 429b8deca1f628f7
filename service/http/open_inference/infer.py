"""POST /v2/models/NAME/infer: read → choose → accept → wait → answer, tensors in and tensors out.

Knows the front and HTTP, as `service.http.generate` does.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dit_serve.service.front.front import Front
from dit_serve.service.http.body import read_body
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.generate import seed_headers, timing_headers
from dit_serve.service.http.middleware import asks_for_images, request_id
from dit_serve.service.http.open_inference.answer import Pictures, answer
from dit_serve.service.http.open_inference.documented import (
    NAME,
    OF_ONE_VERSION,
    documented_answer,
    documented_request,
    refusals,
)
from dit_serve.service.http.open_inference.metadata import INFER, MODEL, OF_VERSION, add_metadata, model_asked, name_in
from dit_serve.service.http.open_inference.reading import HEADER, LABEL, InferForm, choose_all, read_infer
from dit_serve.service.http.open_inference.schemas import InferAnswer
from dit_serve.service.http.protocols import Protocol
from dit_serve.service.http.reading import Wanted, make_jobs
from dit_serve.service.http.work import Work, check_size, deadline_at
from dit_serve.service.settings import Settings


def open_inference_router(front: Front, settings: Settings) -> APIRouter:
    """The router of all that the protocol has."""
    router = APIRouter(tags=["open inference"])
    documented: dict[str, Any] = {
        "response_model": InferAnswer,
        "response_model_exclude_none": True,
        "responses": {200: documented_answer(), **refusals(400, 401, 404, 413, 415, 429, 500, 503, 504)},
    }

    @router.post(OF_VERSION + INFER, openapi_extra=documented_request(NAME, OF_ONE_VERSION), **documented)
    async def infer_version(request: Request) -> Response:
        """As without a version, of which each model has one, 1."""
        return await _infer(request, front, settings)

    @router.post(MODEL + INFER, openapi_extra=documented_request(NAME), **documented)
    async def infer(request: Request) -> Response:
        """Makes an image for each element of the tensor `class_id` or `label`: all are accepted, or none.

        The outputs are `image`, the pixels (N, H, W, 3), `png`, the same with its receipt, and `seed`. If one image
        cannot be made the request fails: the protocol has no answers in part.
        """
        return await _infer(request, front, settings)

    add_metadata(router, front)  # after these, whose paths a name would take
    return router


async def _infer(request: Request, front: Front, settings: Settings) -> Response:
    arrived = asyncio.get_running_loop().time()
    asks_for_images(request, Protocol.OPEN_INFERENCE)
    body = await read_body(request, settings.limits.max_body_bytes)
    headers = request.headers
    form = read_infer(body, headers.getlist(HEADER), headers.getlist(DEADLINE_HEADER))
    if not form.faults:
        front.check_open()
    wanted = await _wanted(form, request, front, by_phrase=settings.prompts == "phrase")
    jobs = [job for each in wanted for job in make_jobs(each, request_id(request), front.next_job_id)]
    check_size(jobs, front, "inputs")
    work = Work.accept(request, front, jobs, deadline_at(arrived, form.deadline_ms))
    ends = await work.ends()
    pictures = Pictures(wanted[0].model, [end.png for end in ends], [job.spec.seed for job in jobs])
    return answer(pictures, form.outputs, form.id, seed_headers(jobs) | timing_headers(ends))


async def _wanted(form: InferForm, request: Request, front: Front, *, by_phrase: bool) -> list[Wanted]:
    """What each image is to be; names are looked up in a thread, for that takes a while."""
    model = model_asked(request, front) if front.named else None
    chosen = partial(choose_all, form, name_in(request), model, by_phrase=by_phrase)
    return await asyncio.to_thread(chosen) if LABEL in form.tensors else chosen()
