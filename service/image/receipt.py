"""An image's receipt: everything needed to make it again, carried in its PNG and in the JSON answer.

In the PNG each value is one text chunk under `dit:<name>`. A receipt holds no time and no
request id, so that the same request gives the same bytes. Knows no HTTP and no tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from dit_serve.models.options import ModelInfo, SampleSpec
from dit_serve.service.errors import ReceiptError

PREFIX = "dit:"
PLAIN_NUMBERS = frozenset("0123456789+-.einfa")  # letters of what str() makes of a number: 1e-05, inf, nan
MAX_TEXT = 4096  # characters of a value: a class's name, a path as a system has it


@dataclass(frozen=True, slots=True)
class Receipt:
    """What made an image. The names are those of the request where it has them."""

    class_id: int
    class_name: str
    cfg: float
    steps: int
    sampler: str
    seed: int
    resolution: int
    guidance_channels: int
    dtype: str
    model: str
    weights_sha256: str
    vae: str
    version: str
    precision: str = ""  # "fp8" where products were in float8; an image of full precision says nothing
    weights: str = ""  # "model" or "ema" of a checkpoint that tells them apart

    def to_chunks(self) -> dict[str, str]:
        """The receipt as text chunks, keyword to text."""
        said = [field for field in fields(self) if getattr(self, field.name) != field.default]
        return {PREFIX + field.name: str(getattr(self, field.name)) for field in said}

    @classmethod
    def from_chunks(cls, chunks: Mapping[str, str]) -> Receipt:
        """Reads what `to_chunks` wrote; other chunks are left alone.

        Raises:
            ReceiptError: a value is missing or cannot be read.
        """
        missing = [
            field.name for field in fields(cls) if field.default is MISSING and PREFIX + field.name not in chunks
        ]
        if missing:
            raise ReceiptError(f"the PNG has no receipt of ours: {PREFIX}{missing[0]} is missing")
        texts = {field: chunks[PREFIX + field.name] for field in fields(cls) if PREFIX + field.name in chunks}
        return cls(**{field.name: _read(field.name, str(field.type), text) for field, text in texts.items()})


def make_receipt(spec: SampleSpec, model: ModelInfo, version: str) -> Receipt:
    """The receipt of an image made by this model in this version."""
    return Receipt(
        class_id=spec.class_id,
        class_name=model.class_name(spec.class_id),
        cfg=spec.guidance_scale,
        steps=spec.steps,
        sampler=spec.sampler,
        seed=spec.seed,
        resolution=model.resolution,
        guidance_channels=model.guidance_channels,
        dtype=model.dtype,
        model=model.name,
        weights_sha256=model.sha256,
        vae=model.vae,
        version=version,
        precision=model.precision,
        weights=model.weights,
    )


def _read(name: str, type_name: str, text: str) -> Any:
    readers = {"int": int, "float": float, "str": str}
    if type_name == "str" and len(text) > MAX_TEXT:
        raise ReceiptError(f"the receipt's {PREFIX}{name} has {len(text)} characters, and none of ours has as many")
    try:
        if type_name != "str" and not set(text) <= PLAIN_NUMBERS:
            raise ValueError  # "1_0" and other alphabets' digits are numbers to Python alone
        return readers[type_name](text)
    except ValueError:
        raise ReceiptError(f"the receipt's {PREFIX}{name} is no {type_name}: {text[:40]!r}") from None
