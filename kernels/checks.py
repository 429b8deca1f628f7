"""Checks of an op's arguments: ValueError, with the value received, for what a kernel cannot take.

That is a shape, dtype, device or layout. Nothing is copied to make it fit: a hidden copy is a cost that nobody sees.
Nothing here knows an op.
"""

from __future__ import annotations

import torch

from dit_serve.kernels.launch import DTYPES, is_interpreted


def sizes(**tensors: tuple[torch.Tensor, str]) -> tuple[int, ...]:
    """Return the size that each letter stands for, in the order in which letters first occur.

    Args:
        tensors: by name: a tensor and a letter for each of its sides, the same letter for the same size.

    Raises:
        ValueError: a tensor has another number of sides, or a letter stands for two sizes.
    """
    found: dict[str, int] = {}
    for name, (tensor, letters) in tensors.items():
        shape = tensor.shape
        fits = len(shape) == len(letters)
        if fits:
            for letter, size in zip(letters, shape, strict=True):
                fits = fits and found.setdefault(letter, size) == size
        if not fits:
            wanted = (f"{letter} = {found[letter]}" if letter in found else letter for letter in letters)
            raise ValueError(f"{name} must be ({', '.join(wanted)}), got {tuple(shape)}")
    return tuple(found.values())


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


def channels_last(**tensors: torch.Tensor) -> None:
    """Raise ValueError for an (N, C, H, W) tensor that is not (N, H, W, C) in memory without gaps."""
    for name, tensor in tensors.items():
        if not tensor.is_contiguous(memory_format=torch.channels_last):
            raise ValueError(f"{name} must be in channels_last, got strides {tensor.stride()} of {tuple(tensor.shape)}")


def dense_vectors(**tensors: torch.Tensor) -> None:
    """Raise ValueError unless the vectors of each (N, D) view are dense; they may be any distance apart."""
    for name, tensor in tensors.items():
        if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"{name} must have stride 1 in its last side, got strides {tensor.stride()}")
