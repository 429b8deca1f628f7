"""By which name a path is counted, and which methods it takes."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dit_serve.service.http.routes import Routes


async def nothing(request: Request) -> Response:
    return Response()


ROUTES = Routes(
    [
        Route("/", nothing, methods=["GET"]),
        Route("/", nothing, methods=["POST"]),
        Route("/web/a.js", nothing, methods=["GET"]),
        Route("/v2/models/{name:path}/infer", nothing, methods=["POST"]),
        Route("/v2/models/{name:path}", nothing, methods=["GET"]),
    ],
    unnamed=["/web/a.js"],
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "/"),
        ("/v2/models/facebook/DiT/infer", "/v2/models/{name}/infer"),
        ("/v2/models/facebook/DiT", "/v2/models/{name}"),
        ("/web/a.js", "other"),
        ("/nothing", "other"),
        ("/v2/models", "other"),
        ("/v2/models/a\n/infer", "other"),
    ],
)
def test_a_path_has_the_name_of_its_route(path: str, name: str) -> None:
    assert ROUTES.name_of(path) == name


def test_a_path_takes_the_methods_of_the_routes_that_fit_it_best() -> None:
    assert ROUTES.methods_of("/") == {"GET", "HEAD", "POST"}
    assert ROUTES.methods_of("/v2/models/a/infer") == {"POST"}
    assert ROUTES.methods_of("/v2/models/a") == {"GET", "HEAD"}
    assert ROUTES.methods_of("/nothing") == set()


def test_what_is_a_route_of_ours_is_known() -> None:
    assert "/web/a.js" in ROUTES
    assert "/v2/models/a" in ROUTES
    assert "/v3" not in ROUTES
