"""The soak's own arithmetic: it finds each kind of what it looks for, and nothing where there is none."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import Goal
from benchmarks.soak.books import answers, held, sums
from benchmarks.soak.clients import draw_specs
from benchmarks.soak.processes import Held, trends
from benchmarks.soak.scrape import Scrape, histogram_faults
from benchmarks.soak.seen import Event, Seen, Stream, examples

TOLD = """\
# TYPE dit_http_requests counter
dit_http_requests_total{route="/generate",status="200"} 2.0
dit_http_requests_total{route="other",status="404"} 1.0
# TYPE dit_requests_received counter
dit_requests_received_total 3.0
# TYPE dit_requests counter
dit_requests_total{verdict="completed"} 2.0
dit_requests_total{verdict="invalid"} 1.0
# TYPE dit_requests_in_progress gauge
dit_requests_in_progress 0.0
# TYPE dit_jobs_accepted counter
dit_jobs_accepted_total 2.0
# TYPE dit_jobs counter
dit_jobs_total{outcome="completed"} 2.0
# TYPE dit_queue_jobs gauge
dit_queue_jobs{model="a",state="waiting"} 0.0
# TYPE dit_images counter
dit_images_total{model="a"} 2.0
# TYPE dit_step_seconds histogram
dit_step_seconds_bucket{le="0.1",model="a"} 1.0
dit_step_seconds_bucket{le="1.0",model="a"} 2.0
dit_step_seconds_bucket{le="+Inf",model="a"} 2.0
dit_step_seconds_count{model="a"} 2.0
dit_step_seconds_sum{model="a"} 0.5
"""


def broken(goals: list[Goal]) -> list[str]:
    return [f"{goal.promise}: {goal.found}" for goal in goals if not goal.is_met]


def seen() -> Seen:
    books = Seen()
    for _ in range(2):
        books.answer("image", "/generate", 200, {200})
        books.image("image", 0, 0, b"png")
    books.answer("page", "/nowhere", 404, {404})
    return books


def told(old: str = "", new: str = "") -> Scrape:
    assert old in TOLD
    return Scrape(tuple(text_string_to_metric_families(TOLD.replace(old, new) if old else TOLD)))


def test_books_that_agree_break_no_promise() -> None:
    assert broken(sums(seen(), told()) + answers(seen(), [{"event": "ready", "level": "info"}])) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('status="200"} 2.0', 'status="200"} 3.0', "/generate 200: clients 2, server 3"),
        ('status="404"} 1.0', 'status="405"} 1.0', "other 404: clients 1, server 0; other 405: clients 0, server 1"),
        ("received_total 3.0", "received_total 4.0", "4 = 2 completed + 1 invalid + 0 in progress"),
        ("accepted_total 2.0", "accepted_total 3.0", "3 = 2 completed + 0 in the ledger; 2 images"),
        ('images_total{model="a"} 2.0', 'images_total{model="a"} 1.0', "1 images"),
        ('state="waiting"} 0.0', 'state="waiting"} 1.0', "{'dit_queue_jobs': 1.0}"),
        ('le="0.1",model="a"} 1.0', 'le="0.1",model="a"} 9.0', "dit_step_seconds{'model': 'a'}"),
        ('count{model="a"} 2.0', 'count{model="a"} 1.0', "dit_step_seconds{'model': 'a'}"),
    ],
)
def test_a_sum_that_does_not_come_out_is_told(old: str, new: str, words: str) -> None:
    assert words in "\n".join(broken(sums(seen(), told(old, new))))


def test_where_there_is_no_histogram_nothing_was_proven() -> None:
    assert histogram_faults(()) == (0, [])
    assert any("0 histograms" in text for text in broken(sums(seen(), Scrape(()))))


@pytest.mark.parametrize(
    ("change", "lines", "words"),
    [
        (lambda books: books.image("several", 0, 0, b"other"), [], "1 of 3 differ"),
        (lambda books: books.answer("image", "/generate", 503, {200}), [], "1 x image: 503"),
        (None, [{"event": "worker_ended", "level": "warning", "how": "killed"}], "1 ended ['killed']"),
        (None, [{"level": "error", "message": "no. 7"}, {"level": "error", "message": "no. 8"}], "2; 2 x no. 0"),
        (None, [{"message": "Traceback", "is_raw": True}], "1; 1 x Traceback"),
    ],
)
def test_what_clients_and_log_must_not_say_is_told(
    change: Callable[[Seen], None] | None, lines: list[dict[str, Any]], words: str
) -> None:
    books = seen()
    if change:
        change(books)
    assert words in "\n".join(broken(answers(books, lines)))


def test_the_images_of_other_requests_and_places_are_not_compared() -> None:
    books = seen()
    books.image("several", 0, 1, b"second")
    books.image("several", 1, 0, b"another")
    assert books.differing == []


def test_a_process_that_grows_is_told_and_one_that_levelled_off_is_not() -> None:
    minute = [(float(second), {1: Held(100 + second, 7, 3), 2: Held(min(130, 100 + 3 * second), 7, 3)})
              for second in range(61)]
    found = trends(minute, {1: "HTTP", 2: "worker 0"})
    assert [trend.name for trend in found] == ["HTTP", "worker 0"]
    assert found[0].slope == pytest.approx(3600)
    assert found[1].slope == pytest.approx(0, abs=1e-6)
    rest = {1: Held(100, 7, 3), 2: Held(100, 7, 3)}
    grown, told_only = held(rest, rest, found, {}, minutes=30), held(rest, rest, found, {}, minutes=1)
    assert [goal.is_met for goal in grown] == [True, True, False, False]
    assert [goal.is_exact for goal in grown] == [True, True, True, False]
    assert [goal.is_exact for goal in told_only] == [True, False, False, False]


@pytest.mark.parametrize(
    ("after", "words"),
    [
        ({1: Held(100, 7, 3)}, "1 of them gone"),
        ({1: Held(100, 10, 3), 2: Held(100, 7, 3)}, "HTTP 7 to 10"),
        ({1: Held(100, 8, 3), 2: Held(100, 7, 3)}, ""),  # one that is just being closed
    ],
)
def test_descriptors_that_stay_and_processes_that_go_are_told(after: dict[int, Held], words: str) -> None:
    before = {1: Held(100, 7, 3), 2: Held(100, 7, 3)}
    found = broken(held(before, after, [], {1: "HTTP"}, minutes=1))
    assert len(found) == bool(words)
    assert words in "".join(found)


def test_a_stream_is_put_together_from_pieces_of_any_size() -> None:
    whole = b': ping\r\n\r\nevent: queued\r\ndata: {"a": 1}\r\n\r\nevent: progress\ndata: {"b": 2}\n\nevent: cut'
    for size in (1, 7, len(whole)):
        stream = Stream()
        for start in range(0, len(whole), size):
            stream.hear(whole[start : start + size])
        assert [(event.name, event.data) for event in stream.events] == [("queued", {"a": 1}), ("progress", {"b": 2})]


def test_what_was_announced_is_held_to_what_came() -> None:
    books, stream = Seen(), Stream()
    stream.events = [
        Event(0.0, "queued", {"eta_seconds": 2.0}), Event(0.5, "queued", {"eta_seconds": 9.0}),
        Event(1.0, "progress", {"index": 1, "eta_seconds": None}),
        Event(1.5, "progress", {"index": 1, "eta_seconds": 1}),
        Event(3.0, "completed", {"index": 1}), Event(4.0, "completed", {"index": 0}),
    ]
    books.times(stream)
    assert books.queued_ratios == [2.0]
    assert books.begun_ratios == []  # nothing had been measured when the first step was told
    del stream.events[2]
    books.times(stream)
    assert books.begun_ratios == [1.5]


def test_the_images_of_a_soak_are_the_same_each_time_and_of_every_kind() -> None:
    specs = draw_specs(random.Random(5))
    assert specs == draw_specs(random.Random(5))
    for name, values in (("sampler", 3), ("resolution", 2), ("cfg", 4), ("steps", 6)):
        assert len({spec[name] for spec in specs}) == values
    assert 2**63 - 1 in {spec["seed"] for spec in specs}


def test_examples_are_the_most_frequent_with_their_numbers() -> None:
    assert examples([]) == "0"
    assert examples(["a", "b", "a"]) == "3; 2 x a; 1 x b"
