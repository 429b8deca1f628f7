"""What all launchers share: Triton where it is installed, the choice of path, the launch itself.

It knows no op. There is no autotuning: each op has a small table of block sizes, chosen by dtype and by the shape of
one row, never by the number of rows, so that a row's arithmetic is the same in any batch. Triton also compiles by
whether a pointer is a multiple of 16 bytes: what torch allocates is, and so is each row of a width in eights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # no wheel for this machine (macOS, for one): modules of kernels still import, references serve
    triton = tl = None

__all__ = ["DTYPES", "Launch", "is_interpreted", "jit", "takes_kernel", "tl", "wants_gradient"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
OLDEST_CARD = (8, 0)  # Triton's own limit on NVIDIA; older cards take the references


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a kernel, as a value: a launcher runs it, kernels.resources compiles it without a card.

    Attributes:
        kernel: the Triton kernel.
        programs: how many instances run; they tell themselves apart by program_id(0).
        arguments: by parameter name: tensors, numbers and constants.
        options: num_warps and num_stages on NVIDIA.
        hip_options: what differs on AMD, where a warp has 64 lanes and a block 64 KiB of shared memory.
    """

    kernel: Any
    programs: int
    arguments: Mapping[str, Any]
    options: Mapping[str, int]
    hip_options: Mapping[str, int] = field(default_factory=dict)

    def options_for(self, backend: str) -> dict[str, int]:
        """Return the options on "cuda" or "hip"."""
        return {**self.options, **(self.hip_options if backend == "hip" else {})}

    def run(self) -> None:
        """Enqueue the kernel on its tensors' device and that device's current stream; nothing to do runs nothing.

        Raises:
            RuntimeError: Triton is not installed.
        """
        if triton is None:
            raise RuntimeError("this kernel needs Triton, which is not installed: call the op, not its launcher")
        if not self.programs:
            return
        device = next(value.device for value in self.arguments.values() if isinstance(value, torch.Tensor))
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            options = self.options_for("hip" if torch.version.hip else "cuda")
            self.kernel[(self.programs,)](**self.arguments, **options)


def jit(*, unspecialised: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a Triton kernel; the function itself where there is no Triton.

    Args:
        unspecialised: integer parameters whose value may not change the code, such as the number of rows.
    """
    return lambda fn: fn if triton is None else triton.jit(fn, do_not_specialize=list(unspecialised))


def is_interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter on the CPU (TRITON_INTERPRET=1 when triton was imported)."""
    return triton is not None and bool(triton.knobs.runtime.interpret)


def wants_gradient(*tensors: torch.Tensor | None) -> bool:
    """Return whether what is computed from these tensors will be differentiated."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def takes_kernel(*tensors: torch.Tensor | None) -> bool:
    """Return whether an op on these tensors is a kernel's work.

    It is on a card that Triton compiles for, in one of DTYPES, with Triton there, and with nothing to differentiate:
    the kernels are forward only, the references know their gradients. The first tensor stands for the device and dtype
    of all.
    """
    first = tensors[0]
    if triton is None or first is None or not first.is_cuda or first.dtype not in DTYPES:
        return False
    if wants_gradient(*tensors):
        return False
    if torch.version.hip or not torch.cuda.is_available():  # no card at hand: the tensor is a fake, being traced
        return True
    return torch.cuda.get_device_capability(first.device) >= OLDEST_CARD
