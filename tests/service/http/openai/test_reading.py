"""From a body to a request: what each field means, and every wrong one told under its own name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError, InvalidRequest, ModelNotFound
from dit_serve.service.http.openai.pictures import PictureStyle
from dit_serve.service.http.openai.reading import choose_images, read_images
from dit_serve.service.http.reading import Wanted

LABELS = (("tench", "Tinca tinca"), ("crane",), ("crane",), ("golden retriever",), ("dog",))


def model(name: str, side: int, *, can_guide: bool = True) -> ModelInfo:
    return ModelInfo(name, side, 5, LABELS, 100, ("ddim", "ddpm"), 4, "float32", "cpu", "00", can_guide=can_guide)


SMALL, LARGE = model("a/small", 64), model("large", 128)
MODELS = {"a/small": SMALL, "large": LARGE, "gpt-image-1": LARGE}


def wanted(body: dict[str, Any], *, by_phrase: bool = False) -> Wanted:
    return choose_images(read_images(json.dumps(body).encode()), MODELS, by_phrase=by_phrase)


def faults(body: dict[str, Any], *, by_phrase: bool = False) -> list[FieldError]:
    with pytest.raises(InvalidRequest) as raised:
        wanted(body, by_phrase=by_phrase)
    return raised.value.errors


def test_an_empty_wish_is_one_image_of_the_default_model() -> None:
    request = wanted({"prompt": "tench"}).request
    assert (request.n, request.steps, request.guidance_scale, request.preview_every) == (1, 50, 4.0, 0)
    assert wanted({"prompt": "tench"}).model is SMALL


@pytest.mark.parametrize(
    ("prompt", "class_id"),
    [("tench", 0), ("TINCA  tinca", 0), ("3", 3), (" 03 ", 3), ("class 3", 3), ("Golden Retriever", 3)],
)
def test_a_prompt_is_a_class_by_name_or_id(prompt: str, class_id: int) -> None:
    assert wanted({"prompt": prompt}).class_id == class_id


def test_a_phrase_names_a_class_where_the_operator_allows_it() -> None:
    body = {"prompt": "A photo of my golden retriever, a good dog"}
    assert wanted(body, by_phrase=True).class_id == 3
    assert [fault.field for fault in faults(body)] == ["prompt"]


def test_a_name_of_several_classes_is_refused_with_their_ids() -> None:
    (fault,) = faults({"prompt": "crane"})
    assert fault.field == "prompt"
    assert "1 (crane), 2 (crane)" in fault.message


def test_class_id_beats_the_prompt() -> None:
    assert wanted({"prompt": "no class at all", "class_id": 4}).class_id == 4
    assert wanted({"class_id": 4}).class_id == 4


def test_a_request_without_a_class_is_told_what_names_one() -> None:
    (fault,) = faults({})
    assert fault.field == "prompt"
    assert '{"prompt": "golden retriever"}' in fault.message
    assert "class_id" in fault.message


@pytest.mark.parametrize(
    ("body", "expected"),
    [({}, SMALL), ({"size": "auto"}, SMALL), ({"size": "64x64"}, SMALL), ({"size": "128x128"}, LARGE),
     ({"model": "large"}, LARGE), ({"model": "large", "size": "128x128"}, LARGE), ({"model": "gpt-image-1"}, LARGE),
     ({"model": None, "size": None}, SMALL)],
    ids=["neither", "auto", "small", "large", "by name", "both", "alias", "nulls"],
)  # fmt: skip
def test_model_and_size_choose_the_model(body: dict[str, Any], expected: ModelInfo) -> None:
    assert wanted({"prompt": "0", **body}).model is expected


@pytest.mark.parametrize(
    ("body", "message"),
    [({"size": "512x512"}, "is 512x512; there is 64x64 (a/small), 128x128 (large)"),
     ({"size": "64x64", "model": "large"}, "is 64x64; there is 128x128 (large)"),
     ({"size": "1024x1536"}, "is 1024x1536; images are square, such as 256x256"),
     ({"size": "large"}, "must be auto, or width and height in pixels, such as 256x256"),
     ({"size": "0x0"}, "must be auto, or width and height in pixels, such as 256x256"),
     ({"size": 64}, "is 64; must be a text in quotes")],
    ids=["unknown", "of another model", "not square", "words", "nothing", "a number"],
)  # fmt: skip
def test_a_size_that_cannot_be_made_is_told_with_those_that_can(body: dict[str, Any], message: str) -> None:
    assert faults({"prompt": "0", **body}) == [FieldError("size", message)]


def test_a_model_that_is_not_loaded_is_not_found_whatever_else_is_wrong() -> None:
    with pytest.raises(ModelNotFound, match="loaded are a/small, large, gpt-image-1"):
        wanted({"prompt": "0", "model": "dall-e-3", "n": 0})


@pytest.mark.parametrize(
    ("field", "value"),
    [("prompt", 7), ("prompt", "x" * 1001), ("prompt", "5"), ("model", 1), ("n", 0), ("n", 17), ("n", 1.5), ("n", "1"),
     ("n", True), ("response_format", "url"), ("response_format", "png"), ("output_format", "gif"),
     ("output_format", "svg"), ("output_compression", 101), ("output_compression", -1), ("background", "transparent"),
     ("background", "black"), ("quality", "ultra"), ("style", "odd"), ("moderation", "high"), ("complexity", "auto"),
     ("user", 7), ("safety_identifier", ["a"]), ("stream", 1), ("stream", "true"), ("partial_images", 4),
     ("partial_images", -1), ("class_id", 5), ("class_id", -1), ("class_id", "1"), ("cfg", 0.5), ("guidance_scale", 21),
     ("steps", 0), ("steps", 101), ("num_inference_steps", 0), ("seed", -1), ("seed", 2**63), ("sampler", "euler"),
     ("deadline_ms", 0)],
)  # fmt: skip
def test_a_wrong_field_is_told_under_its_own_name(field: str, value: object) -> None:
    (fault,) = faults({"prompt": "0", field: value})
    assert fault.field == field
    assert "x" * 20 not in fault.message


@pytest.mark.parametrize("field", ["frame_count", "frame_duration_ms", "svg", "class", "resolution", "x"])
def test_an_unknown_field_is_a_fault(field: str) -> None:
    assert [fault.field for fault in faults({"prompt": "0", field: 1})] == ["(unknown)"]


def test_all_faults_are_told_at_once_in_the_order_of_the_fields() -> None:
    body = {"n": 0, "prompt": "no class", "steps": 101, "size": "9x9", "background": "transparent", "other": 1}
    told = [fault.field for fault in faults(body)]
    assert told == ["n", "background", "(unknown)", "size", "prompt", "steps"]


@pytest.mark.parametrize(
    "field",
    ["model", "n", "size", "response_format", "output_format", "output_compression", "background", "stream",
     "partial_images", "quality", "style", "moderation", "complexity", "user", "safety_identifier", "class_id", "seed"],
)  # fmt: skip
def test_a_null_is_as_if_the_field_were_not_there(field: str) -> None:
    assert wanted({"prompt": "0", field: None}) == wanted({"prompt": "0"})


@pytest.mark.parametrize(("cfg", "steps"), [("cfg", "steps"), ("guidance_scale", "num_inference_steps")])
def test_our_own_fields_have_both_spellings(cfg: str, steps: str) -> None:
    request = wanted({"prompt": "0", cfg: 2, steps: 7.0, "seed": 5, "sampler": "ddpm"}).request
    assert (request.guidance_scale, request.steps, request.seed, request.sampler) == (2.0, 7, 5, "ddpm")


def test_a_field_that_is_there_twice_is_a_fault() -> None:
    (fault,) = read_images(b'{"prompt": "0", "seed": 1, "seed": 2}').form.faults
    assert fault == FieldError("seed", "is given more than once")


def test_a_scale_is_the_models_own_where_none_is_given() -> None:
    plain = {"plain": model("plain", 64, can_guide=False)}
    asked = read_images(b'{"prompt": "0"}')
    assert choose_images(asked, plain, by_phrase=False).request.guidance_scale == 1.0


@pytest.mark.parametrize(
    ("steps", "partial_images", "every"), [(50, 3, 12), (50, 2, 16), (50, 1, 25), (20, 3, 5), (2, 3, 1), (1, 1, 1)]
)
def test_looks_are_at_even_distances(steps: int, partial_images: int, every: int) -> None:
    body = {"prompt": "0", "steps": steps, "stream": True, "partial_images": partial_images}
    assert wanted(body).request.preview_every == every


@pytest.mark.parametrize("body", [{"partial_images": 2}, {"partial_images": 2, "stream": False}, {"stream": True},
                                  {"partial_images": 0, "stream": True}])
def test_without_a_stream_that_asks_for_looks_none_is_taken(body: dict[str, Any]) -> None:
    assert wanted({"prompt": "0", **body}).request.preview_every == 0


@pytest.mark.parametrize(
    ("body", "style"),
    [({}, PictureStyle("png", 100, "high")), ({"output_format": "webp"}, PictureStyle("webp", 100, "high")),
     ({"output_format": "jpeg", "output_compression": 0}, PictureStyle("jpeg", 0, "high")),
     ({"output_format": "png", "output_compression": 100}, PictureStyle("png", 100, "high")),
     ({"quality": "low"}, PictureStyle("png", 100, "low")), ({"quality": "hd"}, PictureStyle("png", 100, "high"))],
    ids=["absent", "webp", "jpeg", "png", "low", "hd"],
)  # fmt: skip
def test_a_style_is_read(body: dict[str, Any], style: PictureStyle) -> None:
    assert read_images(json.dumps({"prompt": "0", **body}).encode()).style == style


def test_a_png_is_not_compressed_with_loss() -> None:
    (fault,) = faults({"prompt": "0", "output_compression": 50})
    assert fault.field == "output_compression"
    assert "webp or jpeg" in fault.message


def test_a_header_may_say_the_deadline() -> None:
    assert read_images(b'{"prompt": "0"}', ["500"]).form.deadline_ms == 500
    assert read_images(b'{"prompt": "0", "deadline_ms": 7}').form.deadline_ms == 7
    (fault,) = read_images(b'{"prompt": "0", "deadline_ms": 7}', ["8"]).form.faults
    assert fault.field == "X-Deadline-Ms"
