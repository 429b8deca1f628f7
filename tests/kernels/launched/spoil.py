"""Arguments of a launcher with one of them spoiled: another shape, dtype, device or stride."""

from __future__ import annotations

from typing import Any

import torch


def spoiled(arguments: dict[str, Any], name: str, what: object) -> dict[str, Any]:
    """Return the arguments with one replaced.

    Args:
        arguments: by parameter name.
        name: the one to spoil.
        what: a shape for zeros; a dtype; "meta" for another device; "strides" for every second number of a tensor
            twice as wide; anything else takes its place.
    """
    value = arguments[name]
    if isinstance(what, tuple):
        value = torch.zeros(what, device=value.device, dtype=value.dtype)
    elif isinstance(what, torch.dtype):
        value = value.to(what)
    elif what == "meta":
        value = value.to("meta")
    elif what == "strides":
        value = value.repeat_interleave(2, dim=-1)[..., ::2]
    else:
        value = what
    return {**arguments, name: value}
