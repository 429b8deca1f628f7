"""What launchers refuse, each with the value received: shapes, dtypes, devices and layouts that a kernel cannot take.

Nothing is copied to make it fit: a hidden copy is a cost that nobody sees. Nothing here knows an op.
"""

from __future__ import annotations

import torch

from dit_serve.kernels.launch import DTYPES, is_interpreted


def tokens(name: str, tensor: torch.Tensor, letters: str = "(N, T, D)") -> tuple[int, int, int]:
    """Return the three sides of a tensor of tokens; ValueError if there are not three."""
    if tensor.ndim != 3:
        raise ValueError(f"{name} must be {letters}, got {tuple(tensor.shape)}")
    rows, length, width = tensor.shape
    return rows, length, width


def shape(name: str, tensor: torch.Tensor, letters: str, expected: tuple[int, ...]) -> None:
    """Raise ValueError unless the tensor has the shape that the letters name."""
    if tensor.shape != expected:
        raise ValueError(f"{name} must be {letters} = {expected}, got {tuple(tensor.shape)}")


def dtype(expected: torch.dtype, **tensors: torch.Tensor) -> None:
    """Raise ValueError unless all tensors have the dtype."""
    for name, tensor in tensors.items():
        if tensor.dtype != expected:
            raise ValueError(f"{name} must be {expected}, got {tensor.dtype}")


def floating(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless all tensors have one of the dtypes that kernels take."""
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise ValueError(f"{name} must be one of {', '.join(map(str, DTYPES))}, got {tensor.dtype}")


def device(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless all tensors are on one device that a kernel can be launched on."""
    first_name, first = next(iter(tensors.items()))
    if first.device.type != "cuda" and not is_interpreted():
        raise ValueError(f"{first_name} must be on a CUDA device, got {first.device}")
    for name, tensor in tensors.items():
        if tensor.device != first.device:
            raise ValueError(f"{name} must be on {first_name}'s device {first.device}, got {tensor.device}")


def alike(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless all tensors have the first one's device and dtype, and a kernel can take those."""
    device(**tensors)
    first_name, first = next(iter(tensors.items()))
    floating(**{first_name: first})
    for name, tensor in tensors.items():
        if tensor.dtype != first.dtype:
            raise ValueError(f"{name} must have {first_name}'s dtype {first.dtype}, got {tensor.dtype}")


def contiguous(**tensors: torch.Tensor) -> None:
    """Raise ValueError for a tensor that is not contiguous."""
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"{name} must be contiguous, got strides {tensor.stride()} of {tuple(tensor.shape)}")


def dense_vectors(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless the vectors of each (N, D) view are dense; they may be any distance apart."""
    for name, tensor in tensors.items():
        if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"{name} must have stride 1 in its last side, got strides {tensor.stride()}")
