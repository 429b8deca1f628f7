"""What computes here: the packages that have a part in an image's bytes, and the kind of device.

Two processes that say the same make the same bytes of the same model and request; two that do not may differ in the
last bit of a pixel, or in how a PNG is packed. All else that an image depends on stands in its receipt and in
`rest_sha256`. Knows no model.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping

import diffusers
import numpy
import PIL
import torch
from PIL import features

from dit_serve.kernels.launch import triton


def build_of(device: torch.device) -> tuple[str, ...]:
    """Return what has a part in the bytes on a device: packages with their versions, and the kind of device."""
    parts = [
        f"torch {torch.__version__} {_short(torch.__config__.show())}",  # with its libraries and their versions
        f"numpy {numpy.__version__}",  # schedules and noise
        f"diffusers {diffusers.__version__}",  # the autoencoder's modules
        f"pillow {PIL.__version__} zlib {features.version('zlib')} {features.version('zlib_ng') or 'plain'}",
    ]
    if device.type == "cuda" and triton is not None:
        parts.append(f"triton {triton.__version__}")
    return (*parts, _kind(device))


def _kind(device: torch.device) -> str:
    """What a device is, beside its number: libraries choose their kernels by this."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return f"{card.name} {card.major}.{card.minor}"
    abilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    name = abilities.get("cpu_name") or platform.processor()
    has = sorted(ability for ability, is_there in abilities.items() if is_there is True)
    level = torch.backends.cpu.get_cpu_capability()
    return f"{device.type} {name} {platform.machine()} {level} {_short(repr(has))}"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
