"""Behind a proxy that shows the service under a path of its own, such as /images.

What the operator said (`--root-path`) counts, else the proxy's own word, X-Forwarded-Prefix. It stands before the
links that we give (`prefix_of`), and nothing else depends on it: routes, keys and counts know paths without it. A proxy
that leaves it in the path is answered too, where it is the operator's.

The header may as well be a client's own: a value that is no plain prefix is as none, and what it changes is kept by no
cache (`PER_PREFIX`).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dit_serve.service.forms import is_path_prefix
from dit_serve.service.http.routes import Routes

HEADER = "X-Forwarded-Prefix"
PER_PREFIX = {"Cache-Control": "no-store", "Vary": HEADER}  # for answers with links in them


class PrefixMiddleware:
    """Finds out each request's prefix, and takes the operator's off its path.

    Args:
        app: what is asked.
        root_path: the operator's prefix; empty for none.
        routes: a path of theirs is taken as it is, as of a proxy that took the prefix off already.
    """

    def __init__(self, app: ASGIApp, root_path: str, routes: Routes) -> None:
        self._app = app
        self._root_path = root_path
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["prefix"] = self._root_path or _forwarded(scope)
            scope = {**scope, "path": self._without_root_path(scope["path"])}
        await self._app(scope, receive, send)

    def _without_root_path(self, path: str) -> str:
        if not self._root_path or path in self._routes:
            return path
        if path == self._root_path:
            return "/"
        return path.removeprefix(self._root_path) if path.startswith(f"{self._root_path}/") else path


def prefix_of(request: Request) -> str:
    """What stands before our paths where the client sees them: empty, or such as /images."""
    return str(request.state.prefix)


def _forwarded(scope: Scope) -> str:
    sent = [value for name, value in scope["headers"] if name == HEADER.lower().encode()]
    text = sent[0].decode("latin-1").rstrip("/") if len(sent) == 1 else ""
    return text if is_path_prefix(text) else ""
