"""The events of a request for images, as OpenAI's clients know them: looks, images, and an error in the place of those.

    image_generation.partial_image … → image_generation.completed, once per image; or error, of all that is missing

There is no event of another kind: clients take each for a look. So what goes on in silence, the queue and the steps, is
told as comments, often enough that no proxy takes the connection for dead.
"""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Sequence

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic_core import to_json

from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import Problem
from dit_serve.service.http.events import PING_SECONDS
from dit_serve.service.http.openai.pictures import PictureStyle, picture_fields
from dit_serve.service.http.openai.schemas import ErrorEvent, PartialImageEvent, PictureCompletedEvent
from dit_serve.service.http.problems import error_member
from dit_serve.service.http.schemas import ErrorMember
from dit_serve.service.wire.job import Job, JobEnd, Preview


class PictureTeller:
    """Tells one request's images; see `service.http.events.Teller`.

    Args:
        jobs: one an image.
        model: that makes them.
        style: how they are given.
        partial_images: the most looks at each.
    """

    goes_on = False

    def __init__(self, jobs: Sequence[Job], model: ModelInfo, style: PictureStyle, partial_images: int) -> None:
        self._jobs = jobs
        self._model = model
        self._style = style
        self._partial_images = partial_images
        self._looks_told = Counter[int]()
        self._told_at = time.monotonic()

    async def queued(self, request_id: str, position: int, eta_seconds: float | None) -> bytes:
        """Nothing, which the watch makes a comment of."""
        return b""

    async def progress(self, image: int, step: int, steps: int, eta_seconds: float | None) -> bytes:
        """Nothing, or a comment after long silence."""
        if time.monotonic() - self._told_at < PING_SECONDS:
            return b""
        self._told_at = time.monotonic()
        return KEEPALIVE_COMMENT

    async def preview(self, image: int, preview: Preview) -> bytes:
        """A look, if it is not one too many."""
        number = self._looks_told[image]
        if number == self._partial_images:
            return b""
        self._looks_told[image] += 1
        look = await self._style.look_of(preview.png, self._model.resolution)
        return self._event(
            PartialImageEvent(
                b64_json=base64.b64encode(look).decode("ascii"), partial_image_index=number, index=image,
                created_at=int(time.time()), **self._style.said(self._model),
            )
        )

    async def completed(self, image: int, request_id: str, end: JobEnd) -> bytes:
        """An image."""
        file = await self._style.file_of(end.png)
        said = picture_fields(self._jobs[image], end, file, self._model) | self._style.said(self._model)
        return self._event(PictureCompletedEvent(index=image, created_at=int(time.time()), **said))

    async def failed(self, image: int | None, request_id: str, problem: Problem) -> bytes:
        """Why no other image comes."""
        return self._event(ErrorEvent(error=ErrorMember.model_validate(error_member(problem))))

    def _event(self, event: PartialImageEvent | PictureCompletedEvent | ErrorEvent) -> bytes:
        self._told_at = time.monotonic()
        return format_sse_event(event=event.type, data_str=to_json(event).decode())
