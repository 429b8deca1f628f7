"""Clients as the chaos measurements need them: each keeps the books that the accounting is checked against."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.accounting import Sent, account
from benchmarks.client import Address, Answer, NoAnswer, ServerEvent, follow, leave, request_bytes, send
from benchmarks.report import Goal
from benchmarks.server import Server


@dataclass(frozen=True, slots=True)
class Seen:
    """One request at its client.

    Args:
        sent: for the accounting.
        seconds: from sending to the end.
        digest: of the image's bytes, empty if none came.
        answer: None if none came.
        ended_at: seconds since the epoch, to compare with the server's log.
    """

    sent: Sent
    seconds: float
    digest: str = ""
    answer: Answer | None = None
    ended_at: float = field(default_factory=time.time)


@dataclass(slots=True)
class Clients:
    """All clients of one server, and what each saw."""

    address: Address
    seen: list[Seen] = field(default_factory=list)

    async def ask(self, body: Mapping[str, object], accept: str = "image/png") -> Seen:
        """One client that stays to the end."""
        identity, message = self._request(body, accept)
        began = time.monotonic()
        try:
            answer = await send(self.address, message)
        except NoAnswer:
            return self._note(Seen(Sent(identity, 0), time.monotonic() - began))
        digest = hashlib.sha256(answer.body).hexdigest() if answer.status == 200 else ""
        sent = Sent(identity, answer.status, images=int(str(body.get("n", 1))))
        return self._note(Seen(sent, time.monotonic() - began, digest, answer))

    async def watch(self, body: Mapping[str, object]) -> Seen:
        """One client that reads events to the end; the status is what the last event means, 0 if it ended without."""
        identity, message = self._request(body, "text/event-stream")
        began, status, digest = time.monotonic(), 0, ""
        try:
            async for news in follow(self.address, message):
                status, digest = _meaning(news, status, digest)
        except NoAnswer:
            status = 0
        return self._note(Seen(Sent(identity, status), time.monotonic() - began, digest))

    async def ask_and_leave(self, body: Mapping[str, object], after_seconds: float, *, is_abrupt: bool) -> Seen:
        """One client that goes away, unless its answer has begun by then."""
        identity, message = self._request(body, "image/png")
        came = await leave(self.address, message, after_seconds, is_abrupt=is_abrupt)
        status = int(came.split(b" ", 2)[1]) if came else 0
        return self._note(Seen(Sent(identity, status, has_left=not came), after_seconds))

    async def check(self, server: Server) -> Goal:
        """R9 between these clients and the server's log, once it has written its last line on them.

        Raises:
            TimeoutError: it has not after a minute.
        """
        await self._settle(server)
        return account(server.lines, [each.sent for each in self.seen]).goal()

    async def _settle(self, server: Server) -> None:
        wanted = {each.sent.request_id for each in self.seen if not each.sent.has_left}
        async with asyncio.timeout(60):
            while True:
                written = {line["request_id"] for line in server.find("request")}
                open_jobs = {line["job_id"] for line in server.find("job_started")}
                if wanted <= written and open_jobs <= {line["job_id"] for line in server.find("job_end")}:
                    return
                await asyncio.sleep(0.05)

    def _request(self, body: Mapping[str, object], accept: str) -> tuple[str, bytes]:
        identity = f"chaos-{random.getrandbits(64):016x}"
        headers = {"Accept": accept, "X-Request-Id": identity}
        return identity, request_bytes("POST", "/generate", json.dumps(body).encode(), headers)

    def _note(self, seen: Seen) -> Seen:
        self.seen.append(seen)
        return seen


def _meaning(news: ServerEvent | Answer, status: int, digest: str) -> tuple[int, str]:
    """The status and the image after one more piece of news."""
    if isinstance(news, Answer):
        return news.status, hashlib.sha256(news.body).hexdigest() if news.status == 200 else ""
    if news.name == "completed":
        return 200, hashlib.sha256(str(news.data["b64_png"]).encode()).hexdigest()
    if news.name == "failed":
        return int(str(news.data["status"])), ""
    return status, digest
