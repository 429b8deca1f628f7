"""API keys: who has none is stopped before anything else is looked at.

The guard stands before the application, so that every path is closed, whether there is a route or not and whenever it
came to be; the probes, the documentation and the page alone are open, by their exact path, to be
read: nothing that is sent by POST. A key comes as
`Authorization: Bearer KEY` (RFC 6750) or `X-API-Key: KEY`. What is kept are digests, compared in constant time as
bytes; a key is never written anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from dit_serve.service.errors import SettingsError, Unauthorized
from dit_serve.service.forms import is_api_key
from dit_serve.service.http.problems import problem_response
from dit_serve.service.settings import Settings

_SCHEME = b"bearer "


class KeyGuard:
    """Lets requests with a valid key through, and those for open paths.

    Args:
        app: what is guarded.
        digests: SHA-256 of each valid key; without any the guard is open.
        open_paths: for which no key is needed, whatever the method; but images are made by POST /.
    """

    def __init__(self, app: ASGIApp, digests: frozenset[bytes], open_paths: frozenset[str]) -> None:
        self._app = app
        self._digests = digests
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] == "http" and self._digests and not self._is_open(scope):
            keys = _sent_keys(scope["headers"])
            if len(keys) != 1 or not all(map(self._is_valid, keys)):
                await _refuse(scope, receive, send, is_wrong=bool(keys))
                return
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["path"] in self._open_paths and (scope["method"], scope["path"]) != ("POST", "/")

    def _is_valid(self, key: bytes) -> bool:
        """Whether the key is one of ours; takes as long for each answer."""
        digest = digest_of(key)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def read_digests(settings: Settings) -> frozenset[bytes]:
    """The digests of all keys of the settings, from the variable and from the file.

    Raises:
        SettingsError: the file cannot be read, holds no key, or a line that is none.
    """
    keys = [key.get_secret_value() for key in settings.api_keys]
    if settings.api_keys_file is not None:
        keys += _read_file(settings.api_keys_file)
    return frozenset(digest_of(key.encode("ascii")) for key in keys)


def digest_of(key: bytes) -> bytes:
    """What is kept of a key."""
    return hashlib.sha256(key).digest()


def _read_file(name: str) -> list[str]:
    try:
        lines = [line.strip() for line in Path(name).read_text("ascii").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{name} (DIT_API_KEYS_FILE) cannot be read: {type(error).__name__}") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or not all(map(is_api_key, keys)):
        raise SettingsError(f"{name} (DIT_API_KEYS_FILE) must hold one key per line, 8 to 256 visible ASCII characters")
    return keys


def _sent_keys(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The different keys that came with a request; a request with more than one has none that is valid."""
    keys = set()
    for name, value in headers:
        if name == b"x-api-key":
            keys.add(value.strip())
        elif name == b"authorization":
            is_bearer = value[: len(_SCHEME)].lower() == _SCHEME
            keys.add(value[len(_SCHEME) :].strip() if is_bearer else b"")
    return keys


async def _refuse(scope: Scope, receive: Receive, send: Send, *, is_wrong: bool) -> None:
    problem = Unauthorized("send Authorization: Bearer KEY, or X-API-Key: KEY, with a key that is valid here")
    challenge = 'Bearer realm="dit-serve"' + (', error="invalid_token"' if is_wrong else "")
    response = problem_response(problem, scope, scope["state"]["request_id"], {"WWW-Authenticate": challenge})
    await response(scope, receive, send)
