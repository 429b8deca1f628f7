"""GET /v1/images/{model}/{class}/{seed}.png: an image as a link, for pages, documents and caches.

    read → choose → tag → 304, or accept → wait → answer

The bytes are a function of the URL and of what is loaded, so the entity tag is known before anything is made, and who
has the image already costs nothing. Knows the front and HTTP's caching (RFC 9110, section 13; RFC 9111; RFC 8246).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dit_serve.models.checks import LEAST_GUIDANCE, MAX_SEED, MOST_GUIDANCE
from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.errors import ModelNotFound
from dit_serve.service.front.front import Front
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.generate import documented_deadline, timing_headers
from dit_serve.service.http.link_reading import Link, read_link
from dit_serve.service.http.middleware import asks_for_images, request_id
from dit_serve.service.http.negotiate import PNG
from dit_serve.service.http.openapi import problems
from dit_serve.service.http.protocols import Protocol
from dit_serve.service.http.reading import choose, make_jobs, model_named
from dit_serve.service.http.web_page import has_it
from dit_serve.service.http.work import Work, deadline_at
from dit_serve.service.image.receipt import make_receipt
from dit_serve.service.settings import Settings
from dit_serve.service.version import version

TEMPLATE = "/v1/images/{model:path}/{class}/{seed}.png"
KEPT = "max-age=31536000, immutable"  # a year, as long as caches keep anything


def link_router(front: Front, settings: Settings) -> APIRouter:
    """The router of images as links."""
    router = APIRouter(tags=["images"])
    # What needs a key is for no cache that others share.
    has_keys = bool(settings.api_keys or settings.api_keys_file)
    caching = {"Cache-Control": f"{'private' if has_keys else 'public'}, {KEPT}"}
    is_exact = settings.options.batch_invariant

    @router.get(
        TEMPLATE,
        response_class=Response,
        responses={200: _documented_image(), 304: {"description": "The client has it."},
                   **problems(401, 404, 422, 429, 500, 503, 504)},
        openapi_extra={"parameters": [*_documented_parameters(), documented_deadline()]},
    )
    async def image(request: Request) -> Response:
        """The image of a class of a model, as PNG with its receipt: the bytes of `POST /generate`.

        `ETag` is known before the image is made: to `If-None-Match` with it the answer is 304 at once, and `HEAD` makes
        nothing. The image of a URL changes only with what is loaded, so it may be kept for good.
        """
        return await _answer(request, front, caching, is_exact=is_exact)

    return router


def entity_tag(spec: SampleSpec, model: ModelInfo, *, is_exact: bool = True) -> str:
    """The entity tag of an image: a sum of everything that its bytes depend on.

    Args:
        spec: of the image.
        model: makes it.
        is_exact: whether the same request gives the same bytes; else the tag is a weak one.
    """
    made_of = asdict(make_receipt(spec, model, version()))
    made_of |= {"rest_sha256": model.rest_sha256, "build": model.build}
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    return f'"{digest}"' if is_exact else f'W/"{digest}"'


async def _answer(request: Request, front: Front, caching: Mapping[str, str], *, is_exact: bool) -> Response:
    asks_for_images(request, Protocol.DIT)
    arrived = asyncio.get_running_loop().time()
    link = _link(request)
    if not (link.form.faults or front.named):
        front.check_open()
    if front.named:
        model_named(link.form.request.model or "", front.named)
    wanted = choose(link.form, front.named)
    if not wanted.model.sha256.startswith(link.weights):
        raise ModelNotFound(f"{wanted.model.name} is loaded with other weights: their SHA-256 is {wanted.model.sha256}")
    (job,) = make_jobs(wanted, request_id(request), front.next_job_id)  # a number, and no job before it is accepted
    headers = {"ETag": entity_tag(job.spec, wanted.model, is_exact=is_exact), **caching}
    if has_it(", ".join(request.headers.getlist("if-none-match")), headers["ETag"].removeprefix("W/")):
        return Response(status_code=304, headers=headers)
    headers["X-Seed"] = str(job.spec.seed)
    front.check_open()
    if request.state.is_head:
        return _head(headers)
    ends = await Work.accept(request, front, [job], deadline_at(arrived, link.form.deadline_ms)).ends()
    return Response(ends[0].png, media_type=PNG, headers=headers | timing_headers(ends))


def _link(request: Request) -> Link:
    scope = request.scope
    raw_path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return read_link(scope["path"], raw_path, query, request.headers.getlist(DEADLINE_HEADER))


def _head(headers: Mapping[str, str]) -> Response:
    """The headers of the image, as far as they are known before it is made: not its length."""
    response = Response(media_type=PNG, headers=headers)
    del response.headers["Content-Length"]
    return response


def _documented_image() -> dict[str, Any]:
    said = {"ETag": "Sum of all that the bytes depend on.", "Cache-Control": "For good; private where there are keys."}
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in said.items()}
    return {"description": "The image.", "content": {PNG: {"schema": {"type": "string", "contentMediaType": PNG}}},
            "headers": headers}  # fmt: skip


def _documented_parameters() -> list[dict[str, Any]]:
    of_seed = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}
    of_scale = {"type": "number", "minimum": LEAST_GUIDANCE, "maximum": MOST_GUIDANCE}
    of_steps, text = {"type": "integer", "minimum": 1, "default": 50}, {"type": "string"}
    of_weights = {"type": "string", "pattern": "^[0-9a-f]{8,64}$"}
    return [
        _parameter("model", "path", text, "Name of a loaded model, or another name that the operator gave it."),
        _parameter("class", "path", text, "Id of a class, or one of its names."),
        _parameter("seed", "path", of_seed, "What noise to start from."),
        _parameter("cfg", "query", of_scale, "Guidance scale, also as `guidance_scale`; as in `POST /generate`."),
        _parameter("steps", "query", of_steps, "Denoising steps, also as `num_inference_steps`."),
        _parameter("sampler", "query", text, "ddim (the default), ddpm or dpm++."),
        _parameter("weights", "query", of_weights, "How the SHA-256 of the model's weights begins; 404 for others."),
    ]


def _parameter(name: str, place: str, schema: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": text}
