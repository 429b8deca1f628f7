"""The paths that are asked for, each under the name by which it is counted; a path with parameters is one name.

Knows paths alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.routing import Route

from dit_serve.service.telemetry.tally import OTHER_ROUTE

_PARAMETER = re.compile(r"\{([a-z_]+)(:[a-z]+)?\}")  # in a path's template


class Routes:
    """The names of all routes.

    Args:
        routes: what can be asked for, the first one that fits a path is its route.
        unnamed: paths that are counted with those of no route.

    Attributes:
        paths: those without parameters.
    """

    def __init__(self, routes: Iterable[Route], unnamed: Iterable[str] = ()) -> None:
        self._routes = tuple(routes)
        found = {route.path: route.path_regex for route in self._routes}
        self._open = [(regex, _PARAMETER.sub(r"{\1}", path)) for path, regex in found.items() if "{" in path]
        self.paths = frozenset(path for path in found if "{" not in path)
        self._named = self.paths.difference(unnamed)

    def name_of(self, path: str) -> str:
        """The route of a path: the path itself, or with the names of its parameters in the place of their values."""
        if path in self._named:
            return path
        return next((name for regex, name in self._open if regex.match(path)), OTHER_ROUTE)

    def methods_of(self, path: str) -> set[str]:
        """The methods that a path takes.

        Where several routes fit, as /v2/models/{name} fits /v2/models/a/infer too, those with most of their own count.
        """
        fitting = [route for route in self._routes if route.path_regex.match(path)]
        closest = max((len(_PARAMETER.sub("", route.path)) for route in fitting), default=0)
        found = (route.methods or () for route in fitting if len(_PARAMETER.sub("", route.path)) == closest)
        return {method for methods in found for method in methods}

    def __contains__(self, path: object) -> bool:
        """Whether there is a route for a path."""
        return path in self.paths or any(regex.match(str(path)) for regex, _ in self._open)
