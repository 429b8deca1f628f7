"""The HTTP application: routes, and nothing behind them.

    POST /generate        a class id in, a PNG out
    GET  /v1/models       what is loaded
    GET  /v1/classes      what can be asked for
    GET  /livez, /readyz  for orchestrators
    GET  /                where to find all this

Knows the front (`service.front`) and no worker, queue or model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.catalog import catalog_router
from service.errors import FieldError, InternalError, InvalidRequest, MethodNotAllowed, NotFound, Problem
from service.front import Front
from service.generate import generate_router
from service.middleware import RequestMiddleware, problem_response, request_id
from service.probes import probe_router
from service.settings import Settings
from service.version import version


def create_app(front: Front, settings: Settings) -> FastAPI:
    """The application around a front; the front is started and stopped with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        front.start()
        yield
        await front.stop()

    app = FastAPI(
        title="dit-serve",
        version=version(),
        summary="Class-conditional images from Diffusion Transformers.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.include_router(generate_router(front, settings.max_body_bytes))
    app.include_router(catalog_router(front))
    app.include_router(probe_router(front))
    app.add_middleware(RequestMiddleware)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_wrong_query)
    return app


async def _answer_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error, request_id(request))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own refusals, in our form."""
    assert isinstance(error, HTTPException)
    headers: dict[str, str] = dict(error.headers or {})
    problems: dict[int, Problem] = {
        404: NotFound("GET / lists the paths"),
        405: MethodNotAllowed(f"allowed here: {headers.get('allow', headers.get('Allow', 'see GET /'))}"),
    }
    problem = problems.get(error.status_code, InternalError("an unexpected error; the log has it"))
    return problem_response(problem, request_id(request), headers)


async def _answer_wrong_query(request: Request, error: Exception) -> Response:
    """A wrong query parameter; the framework's own answer would repeat what was sent."""
    assert isinstance(error, RequestValidationError)
    errors = [FieldError(str(fault["loc"][-1]), str(fault["msg"])) for fault in error.errors()]
    return problem_response(InvalidRequest(errors), request_id(request))
