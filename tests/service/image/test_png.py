"""PNG and receipt: what is written is read back, and damage is told."""

from __future__ import annotations

import io
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.errors import ReceiptError
from dit_serve.service.image.png import encode_png, read_png, read_receipt
from dit_serve.service.image.receipt import Receipt, make_receipt

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
MODEL = ModelInfo("a model", 16, 2, (("zéro", "0"), ("数字",)), 1000, ("ddim",), 3, "bfloat16", "cpu", "ab" * 32, "vae")
SPEC = SampleSpec(1, 2**63 - 1, 20, 1.1, "dpm++")


def receipt() -> Receipt:
    return make_receipt(SPEC, MODEL, "1.2.3")


def test_pixels_and_receipt_are_read_back() -> None:
    image, read = read_png(encode_png(PIXELS, receipt().to_chunks()))
    assert np.array_equal(np.asarray(image), PIXELS)
    assert read == receipt()


def test_the_receipt_has_everything_that_an_image_depends_on() -> None:
    made = receipt()
    assert (made.class_id, made.class_name, made.cfg, made.steps) == (1, "数字", 1.1, 20)
    assert (made.sampler, made.seed, made.resolution) == ("dpm++", 2**63 - 1, 16)
    assert (made.guidance_channels, made.dtype, made.model) == (3, "bfloat16", "a model")
    assert (made.weights_sha256, made.vae, made.version) == ("ab" * 32, "vae", "1.2.3")


def test_every_value_is_one_text_chunk_under_our_prefix() -> None:
    text = Image.open(io.BytesIO(encode_png(PIXELS, receipt().to_chunks()))).text  # type: ignore[attr-defined]
    assert set(text) == {f"dit:{field.name}" for field in fields(Receipt)} - {"dit:precision", "dit:weights"}
    assert text["dit:seed"] == str(2**63 - 1)


def test_a_precision_stands_in_the_receipt_of_an_image_that_has_one_alone() -> None:
    lossy = make_receipt(SPEC, replace(MODEL, precision="fp8"), "1.2.3")
    data = encode_png(PIXELS, lossy.to_chunks())
    assert Image.open(io.BytesIO(data)).text["dit:precision"] == "fp8"  # type: ignore[attr-defined]
    assert read_receipt(data) == lossy
    assert read_receipt(encode_png(PIXELS, receipt().to_chunks())).precision == ""


@pytest.mark.parametrize("weights", ["model", "ema"])
def test_which_weights_stands_in_the_receipt_of_a_checkpoint_that_tells_them_apart_alone(weights: str) -> None:
    data = encode_png(PIXELS, make_receipt(SPEC, replace(MODEL, weights=weights), "1.2.3").to_chunks())
    assert Image.open(io.BytesIO(data)).text["dit:weights"] == weights  # type: ignore[attr-defined]
    assert read_receipt(data).weights == weights


def test_the_same_image_gives_the_same_bytes() -> None:
    assert encode_png(PIXELS, receipt().to_chunks()) == encode_png(PIXELS.copy(), receipt().to_chunks())


@given(st.floats(1, 20), st.integers(0, 2**63 - 1), st.text(max_size=20).filter(lambda text: "\0" not in text))
def test_any_value_survives(cfg: float, seed: int, name: str) -> None:
    chunks = receipt().to_chunks() | {"dit:cfg": str(cfg), "dit:seed": str(seed), "dit:class_name": name}
    try:
        name.encode()
    except UnicodeEncodeError:
        return  # lone surrogates are in no name
    read = read_receipt(encode_png(PIXELS[:2, :2], chunks))
    assert (read.cfg, read.seed, read.class_name) == (cfg, seed, name)


@pytest.mark.parametrize("pixels", [PIXELS[..., 0], PIXELS[..., :2], PIXELS.astype(np.float32), PIXELS[None]])
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 is needed"):
        encode_png(pixels, {})


def test_a_png_without_receipt_is_refused() -> None:
    with pytest.raises(ReceiptError, match="dit:class_id is missing"):
        read_receipt(encode_png(PIXELS, {}))


def test_a_damaged_receipt_is_refused_with_the_value() -> None:
    with pytest.raises(ReceiptError, match="dit:steps is no int: 'many'"):
        read_receipt(encode_png(PIXELS, receipt().to_chunks() | {"dit:steps": "many"}))


@pytest.mark.parametrize("data", [b"", b"not a PNG", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ReceiptError, match="no PNG, or a damaged one: give an image that this service made"):
        read_receipt(data)


def test_a_cut_png_is_refused() -> None:
    with pytest.raises(ReceiptError, match="no PNG, or a damaged one: give an image that this service made"):
        read_png(encode_png(PIXELS, receipt().to_chunks())[:-40])
