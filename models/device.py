"""Which device and which number format a model runs in, when the caller leaves it open; how many threads it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from dit_serve.kernels.launch import FLOAT8_CAPABILITY
from dit_serve.models.errors import DeviceError
from dit_serve.models.options import NUMBER_FORMATS

DTYPES: Mapping[str, torch.dtype] = {name: getattr(torch, name) for name in NUMBER_FORMATS}


def choose_device(name: str | None) -> torch.device:
    """Return the device called `name` ("cuda", "cuda:1", "mps", "cpu"), or the best one here when it is None.

    Raises:
        DeviceError: the device is not one of these, or is absent.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "mps", "cpu"):
        raise DeviceError(f"device {name!r} is none of cuda, cuda:N, mps, cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        build = "" if torch.version.cuda or torch.version.hip else "; this build of torch has no CUDA support"
        raise DeviceError(f"device {name!r} was asked for and {found} CUDA devices are present{build}: choose cpu")
    if device.type == "mps" and not _has_mps():
        raise DeviceError(f"device {name!r} was asked for and is not present: choose cpu")
    return device


def choose_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the number format called `name`; when it is None, the fastest one that the device computes in by itself.

    CUDA: bfloat16 from compute capability 8.0 on and on every AMD card, float16 from 7.0 on, float32 before. CPU:
    bfloat16 where the processor multiplies it (AVX-512 BF16 or AMX), else float32. Metal: float32. Whatever the format,
    timestep and class embedding, sampler state, the norms' statistics and the softmax stay float32.

    Raises:
        DeviceError: the name is none of those allowed.
    """
    if isinstance(name, torch.dtype):
        name = str(name).removeprefix("torch.")
    if name is None:
        if device.type == "cuda":
            return _fastest_of_card(device)
        return _fastest_of_processor() if device.type == "cpu" else torch.float32
    if name not in DTYPES:
        raise DeviceError(f"dtype {name!r} is none of {', '.join(DTYPES)}")
    return DTYPES[name]


def check_precision(name: str | None, device: torch.device) -> None:
    """Check that the device has the instructions of a precision: "fp8" wants float8 products.

    Raises:
        DeviceError: it has none.
    """
    if name is None:
        return
    found = str(device)
    if device.type == "cuda":
        if torch.version.hip:
            found = f"an AMD card, whose float8 is another one, as {device}"
        elif (capability := torch.cuda.get_device_capability(device)) >= FLOAT8_CAPABILITY:
            return
        else:
            found = f"{device} of {capability[0]}.{capability[1]}"
    needed = "an NVIDIA card of compute capability 8.9 or later"
    raise DeviceError(f"precision {name} needs {needed}, got {found}: leave it out")


@contextmanager
def plain_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute in the tensors' own number formats, on the CPU and a device, though a caller has switched on autocast."""
    with torch.autocast("cpu", enabled=False), torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Let this thread's work on the CPU take no other: convolutions divide their sums by the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fastest_of_card(device: torch.device) -> torch.dtype:
    capability = (8, 0) if torch.version.hip else torch.cuda.get_device_capability(device)
    return torch.bfloat16 if capability >= (8, 0) else torch.float16 if capability >= (7, 0) else torch.float32


def _fastest_of_processor() -> torch.dtype:
    """Return bfloat16 if oneDNN is here and the processor has instructions for it: emulated, it would be slower."""
    abilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch cannot tell
    is_native = bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return torch.bfloat16 if is_native and has_onednn else torch.float32


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
