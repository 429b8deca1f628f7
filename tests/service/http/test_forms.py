"""POST /generate: in which form its images come."""

from __future__ import annotations

import httpx
import pytest

from tests.service.http.test_app import assert_problem
from tests.service.http.test_generate import post


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("image/png", "image/png"),
        ("application/json", "application/json"),
        ("application/*", "application/json"),
        ("application/json, */*", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("text/html, image/png;q=0.9, */*;q=0.8", "image/png"),
        ("image/png;q=0, */*", "application/json"),
    ],
)
def test_accept_chooses_the_form(client: httpx.Client, accept: str, media_type: str) -> None:
    response = post(client, {"class_id": 1, "steps": 1}, Accept=accept)
    assert response.headers["content-type"] == media_type


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg", "image/png;q=0", "nonsense", ";;;,,,", "image/png;q=x"])
def test_any_other_accept_is_406(client: httpx.Client, accept: str) -> None:
    assert_problem(post(client, {"class_id": 1}, Accept=accept), 406, "not-acceptable")


@pytest.mark.parametrize("accept", ["*/*", ""])
def test_several_images_come_as_json_to_who_does_not_care(client: httpx.Client, accept: str) -> None:
    response = post(client, {"class_id": 1, "steps": 2, "n": 2}, Accept=accept)
    assert response.headers["content-type"] == "application/json"
    assert len(response.json()["images"]) == 2


@pytest.mark.parametrize("accept", ["image/png", "image/*"])
def test_several_images_without_json_are_406(client: httpx.Client, accept: str) -> None:
    problem = assert_problem(post(client, {"class_id": 1, "n": 2}, Accept=accept), 406, "not-acceptable")
    assert "Accept: application/json" in str(problem["detail"])


@pytest.mark.parametrize("accept", ["", "image/png", "application/json", "*/*", "text/html"])
def test_previews_that_nobody_would_see_are_refused(client: httpx.Client, accept: str) -> None:
    problem = assert_problem(post(client, {"class_id": 1, "preview_every": 2}, Accept=accept), 422, "invalid-request")
    (error,) = problem["errors"]  # type: ignore[misc]
    assert error["field"] == "preview_every"
    assert "send Accept: text/event-stream" in error["message"]


def test_it_is_told_together_with_what_else_is_wrong(client: httpx.Client) -> None:
    body = {"class_id": -1, "preview_every": 2, "steps": 10**6}
    problem = assert_problem(post(client, body), 422, "invalid-request")
    assert {error["field"] for error in problem["errors"]} == {"class_id", "steps", "preview_every"}  # type: ignore[attr-defined]


def test_no_previews_are_wanted_where_they_are_zero(client: httpx.Client) -> None:
    assert post(client, {"class_id": 1, "steps": 1, "preview_every": 0}, Accept="image/png").status_code == 200
