"""Looks at images on their way: taken between two steps, read and encoded in a thread, told as they are ready.

To read a look may mean to wait for a device, which the loop never does. A look is worth nothing when it is late, so of
one image at most one is being encoded; those that would have to wait are left out. A look that fails is left out too
and harms no image. Knows no HTTP and no tensor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol

from dit_serve.service.wire.job import Job, Preview


class Looker(Protocol):
    """What is asked of a model."""

    def preview(self, sample: Any, /) -> Callable[[], Any]:
        """A cheap look at the image as it stands: what gives its pixels, later and in any thread."""


class Previews:
    """Takes and tells previews.

    Args:
        encode: makes the PNG of a look's pixels; None if nobody is to get any.
        post: takes every preview; called from the encoding threads.
        executor: where looks are read and encoded.
    """

    def __init__(
        self, encode: Callable[[Any], bytes] | None, post: Callable[[Preview], None], executor: Executor
    ) -> None:
        self._encode = encode
        self._post = post
        self._executor = executor
        self._under_way: set[int] = set()

    def take(self, looker: Looker, job: Job, sample: Any) -> None:
        """Looks at a sample that has just made a step, if its job, which wants previews, wants one at this step."""
        if self._encode is None or sample.i % job.preview_every or sample.is_done:
            return
        if job.id in self._under_way:
            return
        try:
            look = looker.preview(sample)
        except Exception as error:
            _log(job.id, error)
            return
        self._under_way.add(job.id)
        self._executor.submit(self._tell, self._encode, job.id, sample.i, look)

    def _tell(self, encode: Callable[[Any], bytes], job_id: int, step: int, look: Callable[[], Any]) -> None:
        try:
            self._post(Preview(job_id, step, encode(look())))
        except Exception as error:
            _log(job_id, error)
        finally:
            self._under_way.discard(job_id)


def _log(job_id: int, error: Exception) -> None:
    fields = {"event": "preview_failed", "job_id": job_id}
    logging.getLogger("dit.engine").warning("a preview failed", exc_info=error, extra={"fields": fields})
