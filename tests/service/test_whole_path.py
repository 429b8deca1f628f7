"""The whole path with a real model: HTTP to the network and back, and the same through the commands."""

from __future__ import annotations

import base64
import io
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from dit_serve import load_pipeline
from dit_serve.models.options import ModelOptions, SampleSpec
from dit_serve.service.image.png import read_png, read_receipt
from tests.service.front.test_front import post, start
from tests.service.running import PATIENCE_SECONDS, Running, running

REQUEST = {"class_id": 7, "cfg": 4, "steps": 20, "seed": 3}


def serve_command(models: Path | str, *flags: str) -> list[str]:
    """A server with one worker, so that all requests share its batches, unless the flags say otherwise."""
    command = [sys.executable, "-m", "dit_serve", "serve", "--port", "0", "--metrics-port", "0", "--devices", "cpu"]
    return [*command, "--models", str(models), *flags]


@pytest.fixture(scope="module")
def server(random_folder: Path) -> Iterator[Running]:
    with running(serve_command(random_folder)) as server:
        yield server


@pytest.fixture(scope="module")
def demo_server() -> Iterator[Running]:
    with running(serve_command("digits-64,digits-128")) as server:
        yield server


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_request_gives_the_pipelines_own_pixels(server: Running, random_folder: Path) -> None:
    response = post(server, REQUEST)
    assert response.status_code == 200
    pipeline = load_pipeline(random_folder)
    (expected,) = pipeline.generate([7], [3], steps=20, guidance_scale=4.0)
    assert np.array_equal(pixels_of(response.content), expected)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpm++"])
@pytest.mark.parametrize("cfg", [1, 4])
def test_every_sampler_gives_the_same_bytes_again(server: Running, sampler: str, cfg: float) -> None:
    body = {**REQUEST, "sampler": sampler, "cfg": cfg}
    first = post(server, body)
    assert first.status_code == 200
    assert first.content == post(server, body).content


def test_the_receipt_names_the_model(server: Running, random_folder: Path) -> None:
    receipt = read_receipt(post(server, REQUEST).content)
    pipeline = load_pipeline(random_folder)
    assert (receipt.model, receipt.weights_sha256) == ("random-64", pipeline.info.sha256)
    assert (receipt.class_name, receipt.guidance_channels) == ("thing 7", 4)
    assert receipt.dtype == pipeline.info.dtype


def test_a_picture_by_openais_api_is_that_of_generate(server: Running) -> None:
    wish = {"prompt": "thing 7", "n": 2, **{name: REQUEST[name] for name in ("cfg", "steps", "seed")}}
    with server.client() as client:
        data = client.post("/v1/images/generations", json=wish).json()["data"]
    expected = [post(server, {**REQUEST, "seed": REQUEST["seed"] + k}).content for k in (0, 1)]
    assert [base64.b64decode(image["b64_json"]) for image in data] == expected


def test_classes_come_from_the_checkpoint(server: Running) -> None:
    with server.client() as client:
        found = client.get("/v1/classes", params={"q": "OBJECT 3"}).json()["classes"]
    assert found == [{"class_id": 3, "names": ["thing 3", "object 3"]}]


def test_a_class_past_the_checkpoints_is_refused(server: Running) -> None:
    detail = post(server, {"class_id": 10}).json()["detail"]
    assert detail == "class_id: is 10; random-64 has classes 0 to 9"


def test_a_worker_killed_in_its_work_costs_only_time(random_folder: Path) -> None:
    long = {**REQUEST, "steps": 400}
    with running(serve_command(random_folder, "--log-level", "debug")) as server, ThreadPoolExecutor(1) as pool:
        undisturbed = json_images(post(server, long, Accept="application/json"))
        server.wait_for_event("request")
        answer = start(server, pool, long)
        os.kill(server.worker_pid, signal.SIGKILL)
        assert json_images(answer.result(PATIENCE_SECONDS)) == undisturbed
        assert server.wait_for_event("job_end")["crashes"] == 1


def json_images(response: httpx.Response) -> list[bytes]:
    assert response.status_code == 200, response.text
    return [base64.b64decode(image["b64_png"]) for image in response.json()["images"]]


def test_every_option_reaches_the_pipeline(random_folder: Path) -> None:
    bare = load_pipeline(random_folder, ModelOptions(device="cpu", modulation_cache_bytes=0, batch_invariant=False))
    assert not bare.model.products.batch_invariant
    bare.step([bare.begin(SampleSpec(1, 0, 2, 4.0))])
    assert bare.modulation_counts == (0, 2)
    assert load_pipeline(random_folder, dtype="float32").info.dtype == "float32"


def test_a_missing_checkpoint_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"dit serve: .*absent: no such file or folder"):
        with running(serve_command(tmp_path / "absent")):
            pass


@pytest.mark.parametrize("resolution", [64, 128])
def test_the_demo_answers_with_a_png_of_its_resolution(demo_server: Running, resolution: int) -> None:
    response = post(demo_server, {**REQUEST, "resolution": resolution})
    image, receipt = read_png(response.content)
    assert image.size == (resolution, resolution)
    assert (receipt.model, receipt.class_name) == (f"digits-{resolution}", "seven")


def test_the_demo_draws_ink_on_paper(demo_server: Running) -> None:
    """Quality is measured by models/evaluation/demo_quality.py; this: weights and autoencoder are the trained ones."""
    pixels = pixels_of(post(demo_server, REQUEST).content)
    assert pixels.min() < 64
    assert pixels.max() > 192
