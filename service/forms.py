"""What some texts look like that come from outside: API keys, origins of web pages, prefixes of paths."""

from __future__ import annotations

import re

MAX_PATH_PREFIX = 200

_API_KEY = re.compile(r"[!-+\--~]{8,256}")  # visible ASCII without the comma
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_PATH_PREFIX = re.compile(r"(/(?!\.+(/|$))[A-Za-z0-9._~-]+)+")


def is_api_key(text: str) -> bool:
    """Whether a text may be an API key: 8 to 256 visible ASCII characters, no comma."""
    return _API_KEY.fullmatch(text) is not None


def is_origin(text: str) -> bool:
    """Whether a text is an origin, scheme://host or scheme://host:port in lower case, or * for all of them."""
    return _ORIGIN.fullmatch(text) is not None


def is_path_prefix(text: str) -> bool:
    """Whether a text may stand before all paths, such as /images.

    Of letters, digits and . _ ~ - alone, and no segment of dots, it is the same in a path, a URL, HTML and JSON.
    """
    return len(text) <= MAX_PATH_PREFIX and _PATH_PREFIX.fullmatch(text) is not None
