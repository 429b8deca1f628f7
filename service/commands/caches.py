"""Where our cache and those of libraries are for a user without a home folder that can be written.

That is so in a container whose user its image does not know: libraries then end at their first download or compilation,
or write to a folder that is called `~`. Knows no library beyond the names of its variables.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from dit_serve.models.checkpoints.cache import cache_folder, home_cache_folder

LIBRARIES = {  # by variable: the folder in our cache, and the default one, which is left if it was filled beforehand
    "HF_HOME": ("huggingface", "~/.cache/huggingface"),
    "TRITON_CACHE_DIR": ("triton", "~/.triton/cache"),
    "TORCHINDUCTOR_CACHE_DIR": ("inductor", ""),
}


def settle_caches(environment: MutableMapping[str, str]) -> str:
    """Gives the libraries' caches a place in ours where the user has no home; a sentence that says so, else "".

    Raises:
        CheckpointError: there is no place for ours.
    """
    if environment.get("DIT_CACHE") or home_cache_folder() is not None:
        return ""
    folder = cache_folder()
    for variable, (name, default) in LIBRARIES.items():
        if not os.path.isdir(os.path.expanduser(default)):
            environment.setdefault(variable, str(folder / name))
    return f"no home folder can be written, so caches are in {folder}: set DIT_CACHE to a folder that lasts"
