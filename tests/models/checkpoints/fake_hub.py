"""A model hub on the loopback, as far as huggingface_hub asks it: resolve a revision, list a commit, give a file.

Repositories are folders. Some names misbehave: see `FakeHub`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """The hub's contents and what it was asked for.

    Attributes:
        repositories: folders by owner/name. One whose name ends in "gated" is refused to strangers, one whose name ends
            in "dropping" breaks each file's first transfer off in the middle.
        revisions: commits by branch or tag, the same for all.
        requests: "METHOD path" of each request, in order.
    """

    repositories: Mapping[str, Path]
    revisions: Mapping[str, str]
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> FakeHub:
        hub = self

        class Handler(_Handler):
            contents = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    contents: FakeHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.contents.requests.append(f"{self.command} {self.path}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner_name, verb, revision = "/".join(parts[2 * is_api :][:2]), *parts[2 * is_api :][2:4]
        folder = self.contents.repositories.get(owner_name)
        commits = self.contents.revisions
        if folder is None:
            self._refuse(404, "RepoNotFound")
        elif revision not in commits and revision not in commits.values():
            self._refuse(404, "RevisionNotFound")
        elif owner_name.endswith("gated") and verb != "revision":
            self._refuse(403, "GatedRepo")
        elif is_api:
            self._list(folder, owner_name, verb, commits.get(revision, revision))
        else:
            self._give(folder, "/".join(parts[4:]), commits.get(revision, revision))

    do_HEAD = do_GET

    def _list(self, folder: Path, owner_name: str, verb: str, commit: str) -> None:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [str(path.relative_to(folder)) for path in files]
        if verb == "tree":
            tree = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
                for name, path in zip(names, files, strict=True)
            ]
            self._answer(200, json.dumps(tree).encode())
        else:
            info = {"id": owner_name, "sha": commit, "siblings": [{"rfilename": name} for name in names]}
            self._answer(200, json.dumps(info).encode())

    def _give(self, folder: Path, name: str, commit: str) -> None:
        if not (folder / name).is_file():
            self._refuse(404, "EntryNotFound")
            return
        body = (folder / name).read_bytes()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        whole = len(body)
        if start:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        is_first = self.contents.requests.count(f"GET {self.path}") == 1
        breaks = folder.name.endswith("dropping") and is_first and whole > 10_000
        self._answer(206 if start else 200, body[start:], headers, sent=whole // 2 if breaks else None)

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def _answer(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, sent: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None and self.command != "HEAD":
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing; `requests` keeps the record."""
