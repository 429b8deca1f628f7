"""The HTTP application: routes, and nothing behind them.

    POST /generate        a class id in, a PNG out
    POST /v1/batch        many of these at once
    POST /v1/images/…     the same, as OpenAI's clients ask for it
    GET  /v1/models       what is loaded
    GET  /v1/classes      what can be asked for
    GET  /v1/status       how much there is to do
    GET  /livez, /readyz  for orchestrators
    GET  /docs            the API in a browser
    GET  /                where to find all this; in a browser, the page

Knows the front (`service.front.front`) and no worker, queue or model.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dit_serve.service.errors import FieldError, InternalError, InvalidRequest, MethodNotAllowed, NotFound, Problem
from dit_serve.service.front.front import Front
from dit_serve.service.http.auth import KeyGuard, read_digests
from dit_serve.service.http.batch import batch_endpoint, batch_router
from dit_serve.service.http.catalog import catalog_router
from dit_serve.service.http.deadline import HEADER as DEADLINE_HEADER
from dit_serve.service.http.generate import generate_endpoint, generate_router
from dit_serve.service.http.middleware import PROBES, REQUEST_ID, RequestMiddleware, request_id
from dit_serve.service.http.openai.images import images_endpoint, images_router
from dit_serve.service.http.openai.models import models_router
from dit_serve.service.http.openapi import OPEN_DOCUMENTS, VERSION, completed, description_route
from dit_serve.service.http.pages import DESCRIPTION, OPEN_PAGES, page_routes
from dit_serve.service.http.prefix import PrefixMiddleware
from dit_serve.service.http.probes import probe_router
from dit_serve.service.http.problems import problem_response
from dit_serve.service.http.protocols import OPENAI_IMAGES
from dit_serve.service.http.routes import Routes
from dit_serve.service.http.status import STATUS, status_router
from dit_serve.service.http.web_page import WebPage
from dit_serve.service.settings import Settings
from dit_serve.service.telemetry.tally import Tally
from dit_serve.service.telemetry.traces import request_telemetry
from dit_serve.service.version import version


def create_app(front: Front, settings: Settings, tally: Tally | None = None) -> FastAPI:
    """The application around a front; the front is started and stopped with it.

    Args:
        front: accepts the work.
        settings: limits and keys.
        tally: where requests are counted, if somebody else counts there too.

    Raises:
        SettingsError: the file of API keys is of no use.
    """
    digests = read_digests(settings)
    tally = Tally() if tally is None else tally

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        front.start()
        yield
        await front.stop()
        _log_tally(tally)

    app = FastAPI(
        title="dit-serve",
        version=version(),
        summary="Class-conditional images from Diffusion Transformers.",
        lifespan=lifespan,
        openapi_url=None,  # ours: `description_route`
        docs_url=None,
        redoc_url=None,
        telemetry=request_telemetry(),
        redirect_slashes=False,  # it would redirect to wherever the Host header points
    )
    page = WebPage()
    routes = _add_routes(app, front, settings, page)
    # The last one added stands before all others.
    app.add_middleware(KeyGuard, digests=digests, open_paths=OPEN_PAGES.union(PROBES, OPEN_DOCUMENTS, page.files))
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **_cors(settings.cors_origins))  # before the guard: a preflight has no key
    quiet = frozenset({*page.files, STATUS})  # not written down: a page loads dozens of files, and asks for its status
    app.add_middleware(RequestMiddleware, tally=tally, routes=routes, quiet=quiet)
    app.add_middleware(PrefixMiddleware, root_path=settings.root_path, routes=routes)
    app.state.tally, app.state.routes = tally, routes
    app.openapi_version = VERSION
    app.openapi = completed(app.openapi, has_keys=bool(digests))  # type: ignore[method-assign]
    _answer_errors(app, has_preflights=bool(settings.cors_origins))
    return app


def _add_routes(app: FastAPI, front: Front, settings: Settings, page: WebPage) -> Routes:
    """Adds everything that can be asked for."""
    generate, batch = generate_endpoint(front, settings.limits), batch_endpoint(front, settings.limits)
    # Found first and called as they are: FastAPI's own way to an endpoint costs more than all that these do.
    app.router.routes.insert(0, Route("/generate", generate, methods=["POST"]))
    app.router.routes.insert(1, Route("/v1/batch", batch, methods=["POST"]))
    openai = images_endpoint(front, settings)
    app.router.routes.insert(2, Route(OPENAI_IMAGES, openai, methods=["POST"]))
    app.router.routes += [*page.routes(), *page_routes(), description_route(DESCRIPTION, lambda: app.openapi())]
    makers = generate_router(generate), batch_router(batch), images_router(openai)
    routers = (*makers, catalog_router(front, page), models_router(front), status_router(front), probe_router(front))
    for router in routers:
        app.include_router(router)
    return Routes(_all_routes(app, *routers), unnamed=page.files)  # a page loads dozens: they are counted as one


def _answer_errors(app: FastAPI, *, has_preflights: bool) -> None:
    """Has all errors, the framework's own too, answered in our form."""
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(HTTPException, partial(_answer_http_exception, has_preflights=has_preflights))
    app.add_exception_handler(RequestValidationError, _answer_wrong_query)


def _cors(origins: tuple[str, ...]) -> dict[str, Any]:
    return {
        "allow_origins": origins,
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": ["Authorization", "X-API-Key", DEADLINE_HEADER, REQUEST_ID, "If-None-Match"],
        "expose_headers": [
            "X-Seed", REQUEST_ID, "Server-Timing", "ETag", "Retry-After", "Retry-After-Ms", "X-Should-Retry",
        ],
    }


def _all_routes(*routers: FastAPI | APIRouter) -> Iterator[Route]:
    return (route for router in routers for route in router.routes if isinstance(route, Route))


def _log_tally(tally: Tally) -> None:
    ended = {verdict.value: count for verdict, count in tally.ended.items()}
    fields = {"event": "tally", "received": tally.received, **ended, "under_way": tally.under_way}
    logging.getLogger("dit.request").info("requests in all", extra={"fields": fields})


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error, request.scope, request_id(request))


async def _answer_http_exception(request: Request, error: Exception, *, has_preflights: bool) -> Response:
    """The framework's own refusals, in our form; where browsers ask for leave by OPTIONS, OPTIONS is answered."""
    assert isinstance(error, HTTPException)
    headers: dict[str, str] = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request, has_preflights=has_preflights)
        if request.method == "OPTIONS" and has_preflights:
            return Response(status_code=204, headers=headers)
    problems: dict[int, Problem] = {
        404: NotFound("GET / lists the paths"),
        405: MethodNotAllowed(f"allowed here: {headers.get('Allow')}"),
    }
    problem = problems.get(error.status_code, InternalError("an unexpected error; the log has it"))
    return problem_response(problem, request.scope, request_id(request), headers)


def _allowed(request: Request, *, has_preflights: bool) -> str:
    """The methods of a path: those of its routes, and what the middlewares make of them."""
    found = request.app.state.routes.methods_of(request.scope["path"])
    found |= {"HEAD"} if "GET" in found else set()  # `RequestMiddleware` answers it
    found |= {"OPTIONS"} if has_preflights else set()
    return ", ".join(method for method in ("GET", "HEAD", "POST", "OPTIONS") if method in found)


async def _answer_wrong_query(request: Request, error: Exception) -> Response:
    """A wrong query parameter; the framework's own answer would repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    errors = [FieldError(str(fault["loc"][-1]), str(fault["msg"])) for fault in error.errors()]
    return problem_response(InvalidRequest(errors), request.scope, request_id(request))
