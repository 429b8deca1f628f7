"""Clients as the chaos measurements need them: each keeps the books that the accounting is checked against."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from benchmarks.accounting import Sent, account
from benchmarks.client import Answer, NoAnswer, ServerEvent, follow, leave, request_bytes, send
from benchmarks.report import Goal
from tests.service.running import Line, Running

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request at its client."""

    sent: Sent  # for the accounting
    seconds: float  # from sending to the end
    digest: str = ""  # of the image's bytes, empty if none came
    answer: Answer | None = None  # None if none came
    ended_at: float = field(default_factory=time.time)  # seconds since the epoch, to compare with the server's log

    @property
    def status(self) -> int:
        return self.sent.status


@dataclass(slots=True)
class Clients:
    """All clients of one server, and what each saw."""

    server: Running
    seen: list[Seen] = field(default_factory=list)

    async def ask(self, body: Body, accept: str = "image/png") -> Seen:
        """One client that stays to the end; the status is 0 if no answer came."""
        identity, message = _request(body, accept)
        began, answer = time.monotonic(), None
        try:
            answer = await send(self.server.port, message)
        except NoAnswer:
            return self._note(Seen(Sent(identity, 0), time.monotonic() - began))
        sent = Sent(identity, answer.status, images=int(str(body.get("n", 1))))
        return self._note(Seen(sent, time.monotonic() - began, _digest(answer), answer))

    async def watch(self, body: Body) -> Seen:
        """One client that reads events to the end; the status is what the last event means, 0 if it ended without."""
        identity, message = _request(body, "text/event-stream")
        began, status, digest = time.monotonic(), 0, ""
        try:
            async for news in follow(self.server.port, message):
                status, digest = _meaning(news, status, digest)
        except NoAnswer:
            status = 0
        return self._note(Seen(Sent(identity, status), time.monotonic() - began, digest))

    async def ask_and_leave(self, body: Body, after_seconds: float, *, is_abrupt: bool) -> Seen:
        """One client that goes away, unless its answer has begun by then."""
        identity, message = _request(body, "image/png")
        came = await leave(self.server.port, message, after_seconds, is_abrupt=is_abrupt)
        status = int(came.split(b" ", 2)[1]) if came else 0
        return self._note(Seen(Sent(identity, status, has_left=not came), after_seconds))

    async def check(self) -> Goal:
        """R9 between these clients and the server's log, once it has written its last line on them.

        Raises:
            TimeoutError: it has not after a minute.
        """
        wanted = {each.sent.request_id for each in self.seen if not each.sent.has_left}
        find = self.server.find
        async with asyncio.timeout(60):
            while not (
                wanted <= {line["request_id"] for line in find("request")}
                and {line["job_id"] for line in find("job_started")} <= {line["job_id"] for line in find("job_end")}
            ):
                await asyncio.sleep(0.05)
        return account(self.server.seen, [each.sent for each in self.seen]).goal()

    def _note(self, seen: Seen) -> Seen:
        self.seen.append(seen)
        return seen


def step_seconds(server: Running, since: int = 0) -> float:
    """Median seconds of a step in the jobs that were completed from line number `since` of the log on."""
    ends = [line for line in server.find("job_end", since) if line["outcome"] == "completed"]
    return float(statistics.median(line["denoise_seconds"] / line["steps"] for line in ends))


def logged_at(line: Line) -> float:
    """Seconds since the epoch at which a line of the log was written."""
    return datetime.fromisoformat(line["time"]).timestamp()


def _request(body: Body, accept: str) -> tuple[str, bytes]:
    identity = f"chaos-{random.getrandbits(64):016x}"
    headers = {"Accept": accept, "X-Request-Id": identity}
    return identity, request_bytes("POST", "/generate", json.dumps(body).encode(), headers)


def _digest(answer: Answer) -> str:
    return hashlib.sha256(answer.body).hexdigest() if answer.status == 200 else ""


def _meaning(news: ServerEvent | Answer, status: int, digest: str) -> tuple[int, str]:
    """The status and the image after one more piece of news."""
    if isinstance(news, Answer):
        return news.status, _digest(news)
    if news.name == "completed":
        return 200, hashlib.sha256(str(news.data["b64_png"]).encode()).hexdigest()
    return (int(str(news.data["status"])), "") if news.name == "failed" else (status, digest)
