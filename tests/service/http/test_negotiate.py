"""Which form an image takes, by Accept header and number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.errors import NotAcceptable
from dit_serve.service.http.negotiate import EVENTS, JSON, PNG, choose_representation


@pytest.mark.parametrize("accept", [None, "", "*/*", "image/*", PNG, "image/png, application/json", "IMAGE/PNG"])
def test_png_is_the_default(accept: str | None) -> None:
    assert choose_representation(accept, 1) == PNG


@pytest.mark.parametrize("accept", [JSON, "application/*", "application/json, */*", f"{PNG};q=0.3, {JSON}"])
def test_json_is_for_who_prefers_it(accept: str) -> None:
    assert choose_representation(accept, 1) == JSON


@pytest.mark.parametrize(
    "accept", [None, "", "*/*", JSON, "application/*", "image/png, application/json;q=0.1", "image/png, */*;q=0.1"]
)
def test_several_images_come_as_json_to_who_takes_it(accept: str) -> None:
    assert choose_representation(accept, 2) == JSON


@pytest.mark.parametrize(
    "accept", ["image/*", "image/png", "application/json;q=0", "*/*;q=0", "*/*, application/json;q=0"]
)
def test_several_images_do_not_fit_into_a_png(accept: str | None) -> None:
    with pytest.raises(NotAcceptable, match="Accept: application/json"):
        choose_representation(accept, 2)


@pytest.mark.parametrize(
    "accept",
    [EVENTS, f"{EVENTS}, */*", f"{JSON}, {EVENTS}", f"{EVENTS};q=0.5, */*;q=0.1", f"{PNG};q=0.2, {EVENTS};q=0.3"],
)
@pytest.mark.parametrize("images", [1, 2])
def test_a_stream_is_for_who_names_it(accept: str, images: int) -> None:
    assert choose_representation(accept, images) == EVENTS


@pytest.mark.parametrize(
    ("accept", "form"),
    [("text/*, */*;q=0.1", PNG), (f"{EVENTS};q=0, */*", PNG), (f"{EVENTS};q=0.5, {JSON}", JSON), ("*/*", PNG)],
)
def test_a_stream_is_for_nobody_else(accept: str, form: str) -> None:
    assert choose_representation(accept, 1) == form


@given(st.text(max_size=60), st.integers(1, 16))
def test_any_header_gets_a_form_or_a_refusal(accept: str, images: int) -> None:
    try:
        assert choose_representation(accept, images) in (PNG, JSON, EVENTS)
    except NotAcceptable:
        pass
