"""Deadlines: how they are said, when a request is refused for one, and what happens when one passes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from dit_serve.service.http.deadline import read_deadline
from tests.service.fake import SLOW
from tests.service.front.test_front import ENDLESS_JOB, debug, job_end, leaving_client
from tests.service.http.streams import streaming
from tests.service.http.test_app import assert_problem
from tests.service.http.test_generate import post
from tests.service.running import Running, running

HEADER = "X-Deadline-Ms"
QUICK = {"class_id": 1, "steps": 2}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(debug()) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def test_no_deadline_is_none() -> None:
    assert read_deadline([]) == (None, [])


@pytest.mark.parametrize(("headers", "in_body"), [(["1500"], None), ([], 1500), (["1500", " 1500"], 1500)])
def test_a_deadline_is_said_by_header_or_body(headers: list[str], in_body: int | None) -> None:
    assert read_deadline(headers, in_body) == (1500, [])


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1.5", "1e3", "٣", "²", "0x10", "86400001", "9" * 5000, "soon", "1 000"]
)
def test_a_header_that_is_no_number_of_milliseconds_is_refused(text: str) -> None:
    deadline_ms, (fault,) = read_deadline([text])
    assert (deadline_ms, fault.field) == (None, "X-Deadline-Ms")
    assert fault.message.startswith("must be one whole number of milliseconds")


@pytest.mark.parametrize(("headers", "in_body"), [(["1500"], 1501), (["1500", "1501"], None)])
def test_two_different_deadlines_are_refused(headers: list[str], in_body: int | None) -> None:
    deadline_ms, (fault,) = read_deadline(headers, in_body)
    assert deadline_ms is None
    assert "differs" in fault.message


@pytest.mark.parametrize("number", [0, -1, 86_400_001, True, "1000", 1.5])
def test_a_wrong_deadline_in_the_body_is_422(client: httpx.Client, number: object) -> None:
    problem = assert_problem(post(client, {**QUICK, "deadline_ms": number}), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["deadline_ms"]  # type: ignore[attr-defined]


def test_a_wrong_header_is_422_and_not_repeated(client: httpx.Client) -> None:
    response = post(client, QUICK, **{HEADER: "secret"})
    assert_problem(response, 422, "invalid-request")
    assert "secret" not in response.text


def test_what_is_done_in_time_is_answered_as_ever(client: httpx.Client) -> None:
    plain = post(client, {**QUICK, "seed": 1})
    assert post(client, {**QUICK, "seed": 1}, **{HEADER: "60000"}).content == plain.content
    assert post(client, {**QUICK, "seed": 1, "deadline_ms": 60000}).content == plain.content


def test_a_deadline_that_passes_is_504_and_the_job_leaves(server: Running) -> None:
    with running(debug()) as fresh, fresh.client() as client:  # nothing is measured, so nothing is refused
        response = post(client, ENDLESS_JOB, **{HEADER: "300"})
        assert_problem(response, 504, "expired")
        end = job_end(fresh)
        assert end["outcome"] == "expired"
        assert end["denoise_seconds"] < 10


def test_a_deadline_that_cannot_be_met_is_tried_where_there_is_nothing_else_to_do() -> None:
    with running(debug()) as server, server.client() as client:
        assert post(client, {"class_id": SLOW, "steps": 5}).status_code == 200  # 20 ms a step
        job_end(server)
        for _ in range(2):
            expired = post(client, {"class_id": SLOW, "steps": 1000}, **{HEADER: "300"})
            assert_problem(expired, 504, "expired")
            assert job_end(server)["outcome"] == "expired"


def test_a_deadline_that_cannot_be_met_beside_others_is_503_at_once_with_a_time_to_come_back() -> None:
    with running(debug()) as server, server.client() as client:
        assert post(client, {"class_id": SLOW, "steps": 5}).status_code == 200
        job_end(server)
        with leaving_client(server, ENDLESS_JOB):
            refused = post(client, {"class_id": SLOW, "steps": 1000}, **{HEADER: "1000"})
            assert_problem(refused, 503, "deadline-too-short")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert post(client, {"class_id": SLOW, "steps": 5}, **{HEADER: "30000"}).status_code == 200


def test_a_deadline_that_could_be_met_later_is_503_with_a_time_to_come_back() -> None:
    with running(debug("--max-batch-sequences", "2")) as server, server.client() as client:
        assert post(client, {"class_id": SLOW, "steps": 5}).status_code == 200
        job_end(server)  # or its start would pass for that of the jobs below
        with leaving_client(server, {**ENDLESS_JOB, "n": 4}):
            refused = post(client, {"class_id": SLOW, "steps": 5}, **{HEADER: "10000"})
            assert_problem(refused, 503, "deadline-too-short")
            assert int(refused.headers["retry-after"]) >= 10


def test_a_stream_whose_deadline_passes_ends_with_504() -> None:
    with running(debug()) as server, streaming(server, ENDLESS_JOB, **{HEADER: "300"}) as (response, events):
        assert response.status_code == 200
        name, data = list(events)[-1]
        assert (name, data["status"]) == ("failed", 504)
        request, end = server.wait_for_events("request", "job_end")
        assert (request["status"], end["outcome"]) == (504, "expired")
