"""Images as links: known by their entity tag before anything is made, and the bytes of /generate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.front.front import Front
from dit_serve.service.http.app import create_app
from dit_serve.service.http.links import entity_tag
from dit_serve.service.settings import Settings, read_settings
from dit_serve.service.wire.messages import Configure
from tests.service.asgi import Answer, Header, ask
from tests.service.fake import RAISES, FakeDoor
from tests.service.http.test_app import assert_problem
from tests.service.http.test_auth import KEY, bearer
from tests.service.running import fake_command, running

MODEL = FakeDoor("fake-64").info
LOADED = {"fake-64": MODEL, "facebook/DiT-64": replace(MODEL, name="facebook/DiT-64")}
ALIASES = {"alias": "fake-64"}
SEVEN = "/v1/images/fake-64/7/5.png"
OTHERS = (
    SEVEN, f"{SEVEN}?cfg=1.5", f"{SEVEN}?steps=20", f"{SEVEN}?sampler=ddpm", "/v1/images/fake-64/8/5.png",
    "/v1/images/fake-64/7/6.png", "/v1/images/facebook/DiT-64/7/5.png",
)  # fmt: skip
Scene = Callable[[FastAPI, Front], Coroutine[Any, Any, None]]


def without_worker(scene: Scene, settings: Settings | None = None, places: int = 2) -> None:
    """Plays a scene with a service where no worker ever takes a job."""

    async def run() -> None:
        front = Front(["false"], Configure(models=tuple(LOADED)), max_queue_sequences=places, aliases=ALIASES)
        front.models = LOADED
        await scene(create_app(front, settings or read_settings({}, {})), front)

    asyncio.run(run())


async def get(app: FastAPI, url: str, *headers: Header, method: str = "GET") -> Answer:
    path, _, query = url.partition("?")
    return await ask(app, method, path, headers, query=query.encode())


async def tag_of(app: FastAPI, url: str) -> str:
    answer = await get(app, url, method="HEAD")
    assert answer.status == 200, answer
    return answer.headers["etag"]


def accepted(front: Front) -> int:
    return front.ledger.counters.accepted


def test_who_has_the_image_is_told_so_without_a_job_even_when_the_queue_is_full() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        leaves = asyncio.Event()
        waiting = asyncio.create_task(ask(app, "GET", "/v1/images/fake-64/9/9.png", leaves=leaves))
        while not len(front.ledger):
            await asyncio.sleep(0)
        assert (await get(app, SEVEN)).status == 429
        tag = (await tag_of(app, SEVEN)).encode()
        for known in (tag, b"W/" + tag, b'"other", ' + tag, b"*"):
            answer = await get(app, SEVEN, (b"if-none-match", known))
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag.decode())
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        for other in (b'"other"', tag[:-1], b"", tag.strip(b'"')):
            assert (await get(app, SEVEN, (b"if-none-match", other))).status == 429
        assert accepted(front) == 1
        leaves.set()
        await waiting

    without_worker(scene)


def test_head_says_what_is_known_and_makes_nothing() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        answer = await get(app, SEVEN, method="HEAD")
        assert (answer.status, answer.body, accepted(front)) == (200, b"", 0)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (answer.headers["x-seed"], answer.headers["etag"]) == ("5", entity_tag(SampleSpec(7, 5), MODEL))
        assert "content-length" not in answer.headers  # not known before it is made
        assert (await get(app, SEVEN, (b"if-none-match", b"*"), method="HEAD")).status == 304
        assert (await get(app, "/v1/images/fake-64/100/5.png", method="HEAD")).status == 422

    without_worker(scene)


@pytest.mark.parametrize(
    "url",
    [
        "/v1/images/fake-64/class%207/5.png",
        "/v1/images/fake-64/Kind%207/5.png?cfg=4.0",
        "/v1/images/alias/7/5.png?guidance_scale=4&num_inference_steps=50",
        f"{SEVEN}?sampler=ddim&steps=5e1&weights={MODEL.sha256[:8]}",
    ],
    ids=["name", "another name", "alias", "defaults"],
)
def test_an_image_has_one_tag_however_it_is_asked_for(url: str) -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        assert await tag_of(app, url) == await tag_of(app, SEVEN)

    without_worker(scene)


def test_other_images_have_other_tags() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        tags = {await tag_of(app, url) for url in OTHERS}
        assert len(tags) == len(OTHERS)
        assert await tag_of(app, "/v1/images/facebook%2FDiT-64/7/5.png") == await tag_of(app, OTHERS[-1])

    without_worker(scene)


SPECS = st.builds(
    SampleSpec, st.integers(0, 9), st.integers(0, 99), st.integers(1, 99), st.sampled_from([1, 1.5, 4, 15]),
    st.sampled_from(MODEL.samplers),
)  # fmt: skip
INFOS = st.builds(
    replace, st.just(MODEL), name=st.sampled_from(["a", "b"]), sha256=st.sampled_from(["", "ab"]),
    rest_sha256=st.sampled_from(["", "ab"]), vae=st.sampled_from(["", "ab"]), precision=st.sampled_from(["", "fp8"]),
    build=st.lists(st.sampled_from(["a", "b", "a, b"]), max_size=2).map(tuple),
)  # fmt: skip


@given(SPECS, SPECS, INFOS, INFOS)
def test_two_different_requests_never_have_one_tag(
    a: SampleSpec, b: SampleSpec, model: ModelInfo, other: ModelInfo
) -> None:
    assert (entity_tag(a, model) == entity_tag(b, model)) == (a == b)
    assert (entity_tag(a, model) == entity_tag(a, other)) == (model == other)


@pytest.mark.parametrize(
    "change",
    [{"sha256": "ab" * 32}, {"rest_sha256": "ab" * 32}, {"build": ("torch 2.12.1",)}, {"dtype": "bfloat16"},
     {"labels": (("one",),) * 100}, {"resolution": 128}, {"guidance_channels": 3}, {"weights": "ema"}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_what_changes_the_bytes_changes_the_tag(change: dict[str, Any]) -> None:
    assert entity_tag(SampleSpec(7, 5), replace(MODEL, **change)) != entity_tag(SampleSpec(7, 5), MODEL)


def test_the_number_of_a_device_does_not() -> None:
    assert entity_tag(SampleSpec(7, 5), replace(MODEL, device="cuda:1")) == entity_tag(SampleSpec(7, 5), MODEL)


def test_where_bytes_depend_on_the_batch_the_tag_is_a_weak_one() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        tag = await tag_of(app, SEVEN)
        assert tag == "W/" + entity_tag(SampleSpec(7, 5), MODEL)
        assert (await get(app, SEVEN, (b"if-none-match", tag.encode()))).status == 304

    without_worker(scene, read_settings({"DIT_BATCH_INVARIANT": "false"}, {}))


def test_what_needs_a_key_is_for_no_shared_cache(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)

    async def scene(app: FastAPI, front: Front) -> None:
        for method, known, status in (("HEAD", b"", 200), ("GET", b"*", 304)):
            answer = await get(app, SEVEN, bearer(KEY), (b"if-none-match", known), method=method)
            assert (answer.status, answer.headers["cache-control"]) == (status, "private, max-age=31536000, immutable")
            assert (await get(app, SEVEN, (b"if-none-match", b"*"), method=method)).status == 401

    for settings in ({"DIT_API_KEYS": KEY}, {"DIT_API_KEYS_FILE": str(tmp_path / "keys")}):
        without_worker(scene, read_settings(settings, {}))


def test_errors_say_what_is_wrong_and_are_kept_by_no_cache() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        for url, status, said in (
            ("/v1/images/nobody/7/5.png", 404, b"loaded are fake-64, facebook/DiT-64, alias"),
            (f"{SEVEN}?weights=abcdabcd", 404, b"loaded with other weights: their SHA-256 is 0000"),
            (f"{SEVEN}?sed=1", 422, b"allowed are cfg or guidance_scale"),
            ("/v1/images/fake-64/eleven/5.png?steps=1001", 422, b"steps: is 1001; fake-64 takes 1 to 1000"),
        ):
            for known in (b"", b"*"):  # a wrong request is wrong for whoever has something, too
                answer = await get(app, url, (b"if-none-match", known))
                assert (answer.status, answer.headers["cache-control"]) == (status, "no-store")
                assert said in answer.body
                assert b"nobody" not in answer.body
                assert b"eleven" not in answer.body
        assert accepted(front) == 0

    without_worker(scene)


def test_nothing_is_known_of_an_image_before_a_model_is_loaded() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        front.models = {}
        for method in ("GET", "HEAD"):
            answer = await get(app, SEVEN, (b"if-none-match", b"*"), method=method)
            assert (answer.status, answer.headers["cache-control"]) == (503, "no-store")
            assert "retry-after" in answer.headers
        assert (await get(app, "/v1/images/fake-64/7/x.png")).status == 422

    without_worker(scene)


def test_a_service_that_ends_still_says_that_an_image_has_not_changed() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        assert await front.drain(0)
        assert (await get(app, SEVEN, (b"if-none-match", b"*"))).status == 304
        assert (await get(app, SEVEN)).status == (await get(app, SEVEN, method="HEAD")).status == 503

    without_worker(scene)


def test_a_client_that_leaves_gives_its_image_up() -> None:
    async def scene(app: FastAPI, front: Front) -> None:
        leaves = asyncio.Event()
        asked = asyncio.create_task(ask(app, "GET", SEVEN, leaves=leaves))
        while not len(front.ledger):
            await asyncio.sleep(0)
        leaves.set()
        assert (await asked).status == 499
        assert len(front.ledger) == 0

    without_worker(scene)


def test_the_bytes_are_those_of_generate(client: httpx.Client) -> None:
    wanted = {"model": "fake-128", "class": "kind 7", "seed": 5, "cfg": 1.5, "steps": 3, "sampler": "dpm++"}
    posted = client.post("/generate", json=wanted)
    assert posted.status_code == 200
    link = client.get("/v1/images/fake-128/kind%207/5.png?cfg=1.5&steps=3&sampler=dpm++")
    assert (link.status_code, link.content) == (200, posted.content)
    assert (link.headers["content-type"], link.headers["x-seed"]) == ("image/png", "5")
    assert link.headers["server-timing"].startswith("queue;dur=")
    assert int(link.headers["content-length"]) == len(posted.content)
    head = client.head(link.url)
    assert (head.status_code, head.headers["etag"]) == (200, link.headers["etag"])
    assert head.headers["content-type"] == "image/png"
    known = client.get(link.url, headers={"If-None-Match": link.headers["etag"]})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", link.headers["etag"])


def test_an_image_that_fails_or_comes_too_late_is_a_problem_that_no_cache_keeps(client: httpx.Client) -> None:
    failed = client.get(f"/v1/images/fake-64/{RAISES}/5.png")
    assert_problem(failed, 500, "job-failed")
    late = client.get("/v1/images/fake-64/92/5.png?steps=1000", headers={"X-Deadline-Ms": "30"})
    assert late.status_code in (503, 504)
    assert {failed.headers["cache-control"], late.headers["cache-control"]} == {"no-store"}


def test_a_service_with_other_weights_or_packages_gives_other_tags(tmp_path: Path) -> None:
    tags, weights = [], tmp_path / "weights"
    for text in ("aa" * 32 + "\ntorch 2.13.0", "aa" * 32 + "\ntorch 2.12.1", "bb" * 32 + "\ntorch 2.13.0"):
        weights.write_text(text)
        with running(fake_command(models=f"read-64:{weights}")) as server, server.client() as client:
            answer = client.head("/v1/images/read-64/7/5.png", headers={"If-None-Match": ", ".join(tags)})
            assert answer.status_code == 200
            tags.append(answer.headers["etag"])
    assert len(set(tags)) == 3
