"""Clients that keep books, and R9: what the server says became of every request, against what the clients saw, exactly.

    received = refused + invalid + completed + cancelled + failed

The server's side is its log: one line per request with its status, one per job with its end. A request with jobs ended
as its jobs did, since a stream's status is sent before its end is known; one without was refused (429, 503), invalid
(4xx) or left before anything was accepted. Knows the log's fields and no server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.load import Answer, NoAnswer, leave, request_bytes, send
from benchmarks.report import Goal
from tests.service.running import Line, Running

VERDICTS = REFUSED, INVALID, COMPLETED, CANCELLED, FAILED = "refused", "invalid", "completed", "cancelled", "failed"
CLIENT_LEFT = 499
Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its client saw it."""

    request_id: str  # sent as X-Request-Id
    status: int  # of the answer; for a stream what its last event means; 0 if none came
    has_left: bool = False  # whether the client went away on purpose, so that it saw nothing of the end
    images: int = 1  # how many it asked for
    seconds: float = 0.0  # from sending to the end
    answer: Answer | None = None
    ended_at: float = field(default_factory=time.time)  # since the epoch, to compare with the server's log

    @property
    def digest(self) -> str:
        """Of the image's bytes; empty if none came."""
        return hashlib.sha256(self.answer.body).hexdigest() if self.answer and self.status == 200 else ""


@dataclass(frozen=True, slots=True)
class Account:
    """The sums, and every request on which the two sides differ, in words."""

    received: int
    ended: dict[str, int]
    differences: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether every request ended once, and both sides say the same of each."""
        return not self.differences and self.received == sum(self.ended.values())

    def goal(self) -> Goal:
        parts = " + ".join(f"{self.ended[name]} {name}" for name in VERDICTS)
        differing = f"; {len(self.differences)} differ, the first: {self.differences[0]}" if self.differences else ""
        promise = "R9: received = refused + invalid + completed + cancelled + failed, by server and clients alike"
        return Goal(promise, f"{self.received} = {parts}{differing}", self.is_exact)


@dataclass(slots=True)
class Clients:
    """All clients of one server, and what each saw."""

    server: Running
    seen: list[Seen] = field(default_factory=list)
    is_over: bool = False  # whether those that ask again and again are to stop

    async def ask(self, body: Body, accept: str = "image/png") -> Seen:
        """One client that stays to the end, of a stream of events too; the status is 0 if none came."""
        identity, message = _request(body, accept)
        began, answer = time.monotonic(), None
        with contextlib.suppress(NoAnswer):
            answer = await send(self.server.port, message)
        images, status = int(str(body.get("n", 1))), meaning(answer) if answer else 0
        seconds = time.monotonic() - began
        return self.note(Seen(identity, status, images=images, seconds=seconds, answer=answer))

    async def ask_and_leave(self, body: Body, after_seconds: float, *, is_abrupt: bool) -> Seen:
        """One client that goes away, unless its answer has begun by then."""
        identity, message = _request(body, "image/png")
        came = await leave(self.server.port, message, after_seconds, is_abrupt=is_abrupt)
        return self.note(Seen(identity, int(came.split(b" ", 2)[1]) if came else 0, has_left=not came))

    def note(self, seen: Seen) -> Seen:
        self.seen.append(seen)
        return seen

    async def check(self) -> Goal:
        """R9 between these clients and the server's log, once it has written its last line on them, or in a minute."""
        wanted = {each.request_id for each in self.seen if not each.has_left}
        find = self.server.find
        with contextlib.suppress(TimeoutError):  # the account says what is missing
            async with asyncio.timeout(60):
                while not (
                    wanted <= {line["request_id"] for line in find("request")}
                    and {line["job_id"] for line in find("job_started")} <= {line["job_id"] for line in find("job_end")}
                ):
                    await asyncio.sleep(0.05)
        return account(self.server.seen, self.seen).goal()


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


def meaning(answer: Answer) -> int:
    """The status of an answer: of a stream what its last event means, 0 if it ended without."""
    if (events := answer.events()) is None:
        return answer.status
    return 200 if "completed" in events else int(events.get("failed", {"status": 0})["status"])


def account(lines: Iterable[dict[str, Any]], sent: Sequence[Seen]) -> Account:
    """Compares a server's whole log with its clients' requests to /generate."""
    requests: dict[str, list[int]] = defaultdict(list)
    ends: dict[str, list[str]] = defaultdict(list)
    started, ended = set[int](), Counter[int]()
    for line in lines:
        match line.get("event"):
            case "request" if line["path"] == "/generate":
                requests[line["request_id"]].append(line["status"])
            case "job_started":
                started.add(line["job_id"])
            case "job_end":
                ends[line["request_id"]].append(line["outcome"])
                ended[line["job_id"]] += 1
    differences = [f"job {job} ended {ended[job]} times" for job in started | ended.keys() if ended[job] != 1]
    differences += [f"{name} was not sent" for name in requests.keys() - {each.request_id for each in sent}]
    for each in sent:
        differences += _compare(each, requests.get(each.request_id, []), ends.get(each.request_id, []))
    verdicts = Counter(verdict(statuses[0], ends.get(name, [])) for name, statuses in requests.items())
    received = sum(map(len, requests.values()))
    return Account(received, {name: verdicts[name] for name in VERDICTS}, tuple(differences))


def verdict(status: int, outcomes: Sequence[str]) -> str:
    """What became of a request, from the status of its answer and the ends of its jobs."""
    if "failed" in outcomes or "expired" in outcomes:
        return FAILED
    if "cancelled" in outcomes or status in (0, CLIENT_LEFT):
        return CANCELLED
    if outcomes:
        return COMPLETED
    return FAILED if status == 200 else _by_status(status)


def _compare(each: Seen, statuses: Sequence[int], outcomes: Sequence[str]) -> list[str]:
    if not statuses and each.has_left:  # gone before the server had read it
        return []
    if len(statuses) != 1:
        return [f"{each.request_id} was sent once and received {len(statuses)} times"]
    theirs = verdict(statuses[0], outcomes)
    if theirs == COMPLETED and len(outcomes) != each.images:
        return [f"{each.request_id} asked for {each.images} images and {len(outcomes)} were made"]
    mine = CANCELLED if each.has_left else _by_status(each.status)
    if mine == theirs or (each.has_left and theirs in (COMPLETED, REFUSED)):  # it may have ended as the client left
        return []
    return [f"{each.request_id}: the client saw {each.status} ({mine}), the server says {theirs}"]


def _by_status(status: int) -> str:
    """What a client makes of its answer."""
    if status == 200:
        return COMPLETED
    if status in (429, 503):
        return REFUSED
    return INVALID if 400 <= status < 500 else FAILED
