"""A finished image in the form that was asked for, and what is said of it in this API.

A PNG is given as it was made, byte for byte; JPEG and WebP are made of it in a thread, since that takes milliseconds.
Knows no request and no HTTP.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any, Self

from dit_serve.models.options import ModelInfo
from dit_serve.service.http.generate import made_how
from dit_serve.service.http.openai.schemas import QUALITIES, ImagesRequest, OutputFormat, Quality, written_size
from dit_serve.service.http.prompts import described_class
from dit_serve.service.image.convert import BEST_QUALITY, encoded, enlarged
from dit_serve.service.wire.job import Job, JobEnd


@dataclass(frozen=True, slots=True)
class PictureStyle:
    """How the images of a request are given.

    Args:
        output_format: of their files.
        compression: quality of the lossy forms, 100 is the best.
        quality: what is told of it; it changes nothing.
    """

    output_format: OutputFormat = "png"
    compression: int = BEST_QUALITY
    quality: Quality = "high"

    @classmethod
    def of(cls, sent: ImagesRequest) -> Self:
        """As a request says."""
        compression = BEST_QUALITY if sent.output_compression is None else sent.output_compression
        told: Quality = sent.quality if sent.quality in QUALITIES else "high"
        return cls(sent.output_format or "png", compression, told)

    def said(self, model: ModelInfo) -> dict[str, Any]:
        """The fields of a `PictureForm` of this model's images."""
        size = written_size(model.resolution)
        return {"output_format": self.output_format, "quality": self.quality, "size": size}

    async def file_of(self, png: bytes) -> bytes:
        """An image's file."""
        if self.output_format == "png":
            return png
        return await asyncio.to_thread(encoded, png, self.output_format, self.compression)

    async def look_of(self, preview: bytes, side: int) -> bytes:
        """A small look's file, at this side in pixels."""
        return await self.file_of(await asyncio.to_thread(enlarged, preview, side))


def picture_fields(job: Job, end: JobEnd, file: bytes, model: ModelInfo) -> dict[str, Any]:
    """The fields of a `Picture`."""
    return {
        "b64_json": base64.b64encode(file).decode("ascii"),
        "revised_prompt": described_class(model, job.spec.class_id),
        **made_how(job, end, model),
    }
