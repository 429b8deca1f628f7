"""Triton's cache in the container image: what is not in it yet is looked for among what came with the image.

Triton takes this class by name (TRITON_CACHE_MANAGER=triton_cache:SeededCache). It is there for one module, which the
Dockerfile compiles ahead because the image has no C compiler. In the cache's own folder it could not be: that is a
volume, which may be older than the image.
"""

from __future__ import annotations

import sys
from pathlib import Path

from triton.runtime.cache import FileCacheManager

SEED = Path(sys.prefix) / "triton"


class SeededCache(FileCacheManager):
    """Files in the cache's folder, then files of the same key in the image."""

    def get_file(self, filename: str) -> str | None:
        """The path of a cached file; None if there is none."""
        seed = SEED / self.key / filename
        return super().get_file(filename) or (str(seed) if seed.is_file() else None)
