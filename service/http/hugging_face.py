"""POST / and POST /models/{name}: Hugging Face's text-to-image task, as its InferenceClient asks for it.

    read → choose → accept → wait → answer

The answer is that of POST /generate, and a JPEG or a WebP to who prefers one. Knows the front and HTTP, as
`service.http.generate` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dit_serve.models.options import ModelInfo
from dit_serve.service.front.front import Front
from dit_serve.service.http.body import read_json_body
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.generate import (
    Endpoint,
    answer,
    documented_body,
    documented_deadline,
    documented_forms,
    seed_headers,
    telling,
    timing_headers,
    with_previews_seen,
)
from dit_serve.service.http.hugging_face_reading import (
    TextToImageRequest,
    choose_for,
    read_task,
    without_other_name,
)
from dit_serve.service.http.middleware import asks_for_images, request_id
from dit_serve.service.http.negotiate import EVENTS, PNG, choose_representation, is_stream
from dit_serve.service.http.openapi import problems
from dit_serve.service.http.protocols import Protocol
from dit_serve.service.http.reading import make_jobs, model_named
from dit_serve.service.http.schemas import GenerateAnswer, TextProblem
from dit_serve.service.http.work import Work, deadline_at
from dit_serve.service.image.convert import Lossy, encoded
from dit_serve.service.settings import Settings

MODEL_PATH = "/models/{name:path}"
LOSSY: Mapping[str, Lossy] = {"image/jpeg": "jpeg", "image/webp": "webp"}
STILLS = (PNG, *LOSSY)
QUALITY = 90  # of the lossy ones, up to 100


def text_to_image_endpoint(front: Front, settings: Settings) -> Endpoint:
    """What answers POST / and POST /models/{name}."""
    most_bytes, by_phrase = settings.limits.max_body_bytes, settings.prompts == "phrase"

    async def text_to_image(request: Request) -> Response:
        asks_for_images(request, Protocol.HUGGING_FACE)
        arrived = asyncio.get_running_loop().time()
        body = await read_json_body(request, most_bytes)
        accept = request.headers.get("accept")
        task = read_task(body, request.headers.getlist(DEADLINE_HEADER))
        is_seen = is_stream(accept, task.form.request.n, STILLS)
        task = replace(task, form=with_previews_seen(task.form, is_seen=is_seen))
        name = request.path_params.get("name")
        if name is not None:
            task = without_other_name(task)
        if task.is_sound:
            front.check_open()
        wanted = choose_for(task, _models(front, name), by_phrase=by_phrase)
        representation = choose_representation(accept, wanted.request.n, STILLS)
        jobs = make_jobs(wanted, request_id(request), front.next_job_id)
        work = Work.accept(request, front, jobs, deadline_at(arrived, task.form.deadline_ms))
        if representation == EVENTS:
            return work.stream(telling(jobs, wanted.model), seed_headers(jobs))
        ends = await work.ends()
        if representation in LOSSY:
            image = await asyncio.to_thread(encoded, ends[0].png, LOSSY[representation], QUALITY)
            return Response(image, media_type=representation, headers=seed_headers(jobs) | timing_headers(ends))
        return answer(representation, jobs, ends, wanted.model)

    return text_to_image


def text_to_image_router(endpoint: Endpoint) -> APIRouter:
    """The documentation of the task's two paths."""
    router = APIRouter(tags=["images, as other services give them"])
    forms = documented_forms()
    forms["content"] |= {kind: {"schema": {"type": "string", "contentMediaType": kind}} for kind in LOSSY}
    described: dict[str, Any] = {
        "response_model": GenerateAnswer,
        "responses": {200: forms, **problems(400, 401, 404, 406, 413, 415, 429, 500, 503, 504, document=TextProblem)},
    }
    needs = {"requestBody": documented_body(TextToImageRequest), "parameters": [documented_deadline()]}

    @router.post("/", **described, openapi_extra=needs)
    async def text_to_image(request: Request) -> Response:
        """Hugging Face's text-to-image task, for `InferenceClient(base_url=…)`: `inputs` names a class.

        `parameters` are those of `POST /generate`, and the task's own. The answer is that of `POST /generate`, or a
        JPEG or WebP, which carry no receipt, to who prefers it.
        """
        return await endpoint(request)

    named = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}

    @router.post(MODEL_PATH, **described, openapi_extra={**needs, "parameters": [named, documented_deadline()]})
    async def text_to_image_of(request: Request) -> Response:
        """The same, of the model that the path names."""
        return await endpoint(request)

    return router


def _models(front: Front, name: str | None) -> Mapping[str, ModelInfo]:
    """Those that a request may be for: the one that its path names, or all.

    Raises:
        ModelNotFound: none is called as the path says.
    """
    if name is None or not front.named:
        return front.named
    return {name: model_named(name, front.named)}
