"""What the URL of an image says, and everything that is wrong with it at once."""

from __future__ import annotations

import math
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.checks import MAX_SEED
from dit_serve.service.http.link_reading import Link, read_link
from dit_serve.service.http.schemas import GenerateRequest


def link(url: str, *deadlines: str) -> Link:
    """As a server hands on what is asked for under this URL."""
    path, _, query = f"/v1/images/{url}".partition("?")
    return read_link(unquote(path), path, query, deadlines)


def request(url: str) -> GenerateRequest:
    form = link(url).form
    assert form.faults == ()
    return form.request


def faults(url: str, *deadlines: str) -> dict[str, str]:
    found = link(url, *deadlines).form.faults
    assert len({fault.field for fault in found}) == len(found)
    return {fault.field: fault.message for fault in found}


def test_a_url_says_the_same_as_a_body() -> None:
    asked = request("digits-64/7/5.png?cfg=1.5&steps=20&sampler=ddpm")
    assert (asked.model, asked.class_id, asked.seed) == ("digits-64", 7, 5)
    assert (asked.guidance_scale, asked.steps, asked.sampler, asked.n) == (1.5, 20, "ddpm", 1)
    spelled = request("digits-64/7/5.png?guidance_scale=1.5e0&num_inference_steps=20.0&sampler=ddpm")
    assert spelled == asked


def test_what_a_url_leaves_out_has_the_defaults_of_a_body() -> None:
    assert request("a/7/5.png").model_fields_set == {"model", "class_id", "seed"}


@pytest.mark.parametrize("model", ["digits-64", "facebook/DiT-XL-2-256", "a/b/c", "über 64", "50%"])
@pytest.mark.parametrize("name", ["golden retriever", "n/a", "%41", "Ärmel", "crane?"])
def test_names_are_decoded_once_and_keep_their_slashes(model: str, name: str) -> None:
    for sent in (quote(model), quote(model, safe="")):
        asked = request(f"{sent}/{quote(name, safe='')}/5.png")
        assert (asked.model, asked.class_name, asked.class_id) == (model, name, None)


@pytest.mark.parametrize("written", ["dpm++", "dpm%2B%2B", "dpm%2b+"])
def test_a_sampler_is_written_as_it_is_or_escaped(written: str) -> None:
    assert request(f"a/7/5.png?sampler={written}").sampler == "dpm++"


def test_weights_are_pinned_by_their_first_digits() -> None:
    assert link("a/7/5.png").weights == ""
    assert link("a/7/5.png?weights=0123abcd").weights == "0123abcd"
    for wrong in ("0123abc", "0123ABCD", "0" * 65, "", "0123abcg", "0123abcd "):
        assert list(faults(f"a/7/5.png?weights={quote(wrong)}")) == ["weights"], wrong


@pytest.mark.parametrize("text", ["", "x", "-1", "+5", "05", "5.0", "5e0", " 5", "５", "1_0", "0x5", "5/6", "9" * 40])
def test_a_seed_is_written_in_digits(text: str) -> None:
    assert faults(f"a/7/{quote(text, safe='')}.png") == {"seed": "must be a whole number, in digits alone, before .png"}


def test_a_seed_that_is_too_large_is_told_the_bound() -> None:
    assert request(f"a/7/{MAX_SEED}.png").seed == MAX_SEED
    assert "less than or equal to 9223372036854775807" in faults(f"a/7/{MAX_SEED + 1}.png")["seed"]


@pytest.mark.parametrize("text", ["", "x", "+4", "04", "4.", ".5", " 4", "nan", "inf", "1_0", "0x4", "٤", "true"])
def test_numbers_are_written_as_in_json(text: str) -> None:
    query = f"cfg={quote(text)}&steps={quote(text)}"
    assert faults(f"a/7/5.png?{query}") == {"cfg": "must be a number", "steps": "must be a whole number"}


def test_bounds_are_those_of_a_body() -> None:
    wrong = faults("a/7/5.png?cfg=20.5&num_inference_steps=7.5")
    assert wrong == {
        "cfg": "is 20.5; must be less than or equal to 20", "num_inference_steps": "is 7.5; must be a whole number"
    }  # fmt: skip
    assert faults("a/7/5.png?steps=0&cfg=1e999").keys() == {"steps", "cfg"}


def test_a_parameter_of_another_name_is_told_the_allowed_ones_and_not_repeated() -> None:
    allowed = "allowed are cfg or guidance_scale, steps or num_inference_steps, sampler, weights"
    assert faults("a/7/5.png?Cfg=4") == {"(unknown)": f"there is a parameter of another name; {allowed}"}
    assert faults("a/7/5.png?seed=1&n=2&evil=x") == {"(unknown)": f"there are 3 parameters of another name; {allowed}"}


def test_a_parameter_is_given_once_and_in_one_spelling() -> None:
    assert faults("a/7/5.png?cfg=4&cfg=4&sampler=ddim&sampler=ddpm") == {
        "cfg": "is given more than once", "sampler": "is given more than once"
    }  # fmt: skip
    both = faults("a/7/5.png?cfg=4&guidance_scale=4")
    assert both == {"guidance_scale": "is another spelling of cfg, which is given too: give one of them"}


def test_all_faults_are_told_at_once() -> None:
    wrong = faults("a/7/x.png?cfg=y&steps=0&sampler=" + "s" * 40 + "&weights=1&no=1", "soon")
    assert wrong.keys() == {"seed", "cfg", "steps", "sampler", "weights", "(unknown)", "X-Deadline-Ms"}


def test_a_deadline_comes_by_its_header() -> None:
    assert link("a/7/5.png", "250").form.deadline_ms == 250
    assert "(unknown)" in faults("a/7/5.png?deadline_ms=250")


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.text(alphabet="=&%+;?abcdefgimnpsw0123.", max_size=60),
)
def test_any_url_is_a_request_or_a_list_of_faults(name: str, query: str) -> None:
    read = link(f"m/{quote(name, safe='')}/5.png?{query}")
    asked = read.form.request
    assert asked.model == "m"
    assert math.isfinite(asked.guidance_scale)
    assert name in (asked.class_name, str(asked.class_id)) or "class" in read.form.wrong | {"class_id"}
