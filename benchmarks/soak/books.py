"""One side of a soak against the other: what must be equal, what must be nothing, and what may not have grown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.report import Goal
from benchmarks.soak.processes import MOST_GROWTH, MOST_SLOPE, Sample, Trend
from benchmarks.soak.scrape import Scrape, histogram_faults
from benchmarks.soak.seen import Seen, examples
from tests.service.running import Line

GAUGES = ("dit_requests_in_progress", "dit_queue_jobs", "dit_queue_sequences", "dit_queue_work_seconds")
OTHER_ROUTE = "other"
LEAST_EXACT_MINUTES = 10.0  # a shorter soak has not levelled off: its growth is told, and proves nothing
SPARE_DESCRIPTORS = 2  # of a process, beyond what it had before: what is just being closed


def sums(seen: Seen, told: Scrape) -> list[Goal]:
    """What the server counted, against the clients' books and against itself, once it has nothing to do."""
    routes = {sample.labels["route"] for sample in told.samples("dit_http_requests_total")}
    theirs = {
        (sample.labels["route"], int(sample.labels["status"])): int(sample.value)
        for sample in told.samples("dit_http_requests_total")
    }
    mine: dict[tuple[str, int], int] = {}
    for (path, status), count in seen.statuses.items():
        key = path if path in routes else OTHER_ROUTE, status
        mine[key] = mine.get(key, 0) + count
    pairs = {key: (mine.get(key, 0), theirs.get(key, 0)) for key in mine.keys() | theirs.keys()}
    unequal = [f"{path} {status}: clients {a}, server {b}" for (path, status), (a, b) in pairs.items() if a != b]
    received, under_way = int(told.total("dit_requests_received_total")), int(told.total("dit_requests_in_progress"))
    ended = told.by("dit_requests_total", "verdict")
    accepted, held = int(told.total("dit_jobs_accepted_total")), int(told.total("dit_queue_jobs"))
    jobs, images = told.by("dit_jobs_total", "outcome"), int(told.total("dit_images_total"))
    gauges = {name: told.total(name) for name in GAUGES if told.total(name)}
    count, faults = histogram_faults(told.families)
    return [
        Goal("every status is counted alike on both sides", f"{sum(mine.values())} requests, {len(pairs)} kinds of "
             f"answers; different: {'; '.join(sorted(unequal)) or 'none'}", not unequal),
        Goal("received = refused + invalid + completed + cancelled + failed + in progress",
             f"{received} = {_sum(ended)} + {under_way} in progress", received == sum(ended.values()) + under_way),
        Goal("jobs accepted = their ends + in the ledger, and each that was completed is an image",
             f"{accepted} = {_sum(jobs)} + {held} in the ledger; {images} images",
             accepted == sum(jobs.values()) + held and images == jobs["completed"]),
        Goal("nothing asked, nothing held: all gauges of the queue are 0", str(gauges or "0"), not gauges),
        Goal("every histogram is monotone, and its last bucket its count",
             f"{count} histograms; not so: {'; '.join(faults) or 'none'}", bool(count) and not faults),
    ]


def answers(seen: Seen, lines: Sequence[Line]) -> list[Goal]:
    """What the clients got, and what the log says of workers and errors."""
    ends = [line.get("how") for line in lines if line.get("event") == "worker_ended"]
    errors = [
        re.sub(r"\d+", "0", str(line.get("message")))  # alike but for an id or a time
        for line in lines
        if line.get("is_raw") or line.get("level") in ("error", "critical")
    ]
    return [
        Goal("the same request has the same bytes in any company", f"{len(seen.differing)} of {seen.images} differ",
             bool(seen.images) and not seen.differing),
        Goal("every request gets the answer that it must", f"others: {examples(seen.surprises)}", not seen.surprises),
        Goal("no worker ends", f"{len(ends)} ended {sorted(set(map(str, ends))) or ''}".rstrip(), not ends),
        Goal("no error is logged", examples(errors), not errors),
    ]


def held(before: Sample, after: Sample, trends: Sequence[Trend], names: dict[int, str], minutes: float) -> list[Goal]:
    """What the processes hold when nothing is asked, before and after, and how it went in between."""
    gone = len(before.keys() - after.keys())
    more = [
        f"{names.get(pid, 'standby')} {before[pid].descriptors} to {after[pid].descriptors}"
        for pid in before.keys() & after.keys()
        if after[pid].descriptors > before[pid].descriptors + SPARE_DESCRIPTORS
    ]
    threads = ", ".join(f"{trend.name} {trend.threads[0]} and {trend.threads[1]}" for trend in trends)
    growth = ", ".join(f"{trend.name} {trend.growth:+.1%}" for trend in trends)
    slope = ", ".join(f"{trend.name} {trend.slope:+.2f}" for trend in trends)
    is_exact = minutes >= LEAST_EXACT_MINUTES
    return [
        Goal("the same processes, with no more descriptors than before",
             f"{len(before)} processes, {gone} of them gone; more: {'; '.join(more) or 'none'}", not more and not gone),
        Goal("no more threads in the second half than in the first", threads,
             all(trend.threads[1] <= trend.threads[0] for trend in trends), is_exact),
        Goal(f"after the warm-up the memory of each process grows by at most {MOST_GROWTH:.0%}", growth,
             all(trend.growth <= MOST_GROWTH for trend in trends), is_exact),
        Goal(f"and by at most {MOST_SLOPE:.0f} MiB an hour", slope,
             all(trend.slope <= MOST_SLOPE for trend in trends), is_exact=False),
    ]


def _sum(counts: dict[str, int]) -> str:
    return " + ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "0"
