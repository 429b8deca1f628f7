"""What all ops share: Triton where it is installed, the choice between kernel and definition, the launch itself.

It knows no op. There is no autotuning: each op has a small table of block sizes, chosen by dtype and by the shape of
one row, so that a row's arithmetic is the same in any batch; by the number of rows only where no bit depends on the
choice (kernels/tiles.py). Triton also compiles by whether a pointer is a multiple of 16 bytes: what torch allocates is,
and so is each row if D is a multiple of 8.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # no wheel for this machine (macOS, for one): modules of kernels still import, definitions serve
    triton = tl = None

__all__ = [
    "DTYPES", "FLOAT8_CAPABILITY", "LEAST_CAPABILITY", "Launch", "has_code", "is_interpreted", "jit", "reaches",
    "takes_kernel", "tl", "torch_op", "triton", "wants_gradient",
]

P = ParamSpec("P")
R = TypeVar("R")

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LEAST_CAPABILITY = (8, 0)  # Triton's own limit on NVIDIA; older cards take the definitions
FLOAT8_CAPABILITY = (8, 9)  # Triton's limit for float8_e4m3fn


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a kernel, as a value: a torch op runs it, kernels.resources compiles it without a card.

    Attributes:
        outputs: what the kernel fills.
        kernel: the Triton kernel.
        programs: how many instances run; program_id(0) numbers them.
        arguments: by parameter name: tensors, numbers and constants.
        options: num_warps and num_stages on NVIDIA.
        hip_options: what differs on AMD, where a warp has 64 lanes and a block 64 KiB of shared memory.
        least_capability: the oldest cards that the kernel compiles for; see `has_code`.
    """

    outputs: torch.Tensor | tuple[torch.Tensor, ...]
    kernel: Any
    programs: int
    arguments: Mapping[str, Any]
    options: Mapping[str, int]
    hip_options: Mapping[str, int] = field(default_factory=dict)
    least_capability: tuple[int, int] = LEAST_CAPABILITY

    def options_for(self, backend: str) -> dict[str, int]:
        """Return the options on "cuda" or "hip"."""
        return {**self.options, **(self.hip_options if backend == "hip" else {})}

    def run(self) -> None:
        """Enqueue the kernel on its tensors' device and that device's current stream, unless there are no programs.

        Raises:
            RuntimeError: Triton is not installed.
            ValueError: the card is too old for the kernel, or another maker's.
        """
        if triton is None:
            raise RuntimeError("this kernel needs Triton, which is not installed: call the op itself")
        if not self.programs:
            return
        device = next(value.device for value in self.arguments.values() if isinstance(value, torch.Tensor))
        if device.type == "cuda" and not has_code(self.least_capability, capability := _capability(device)):
            needed, got = (".".join(map(str, pair)) for pair in (self.least_capability, capability or ("AMD's",)))
            raise ValueError(f"this kernel needs an NVIDIA card of compute capability {needed} or more, got {got}")
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            options = self.options_for("hip" if torch.version.hip else "cuda")
            self.kernel[(self.programs,)](**self.arguments, **options)


def jit(*, unspecialised: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a Triton kernel; the function itself where there is no Triton.

    Args:
        unspecialised: integer parameters whose value may not change the code, such as the number of rows.
    """
    return lambda fn: fn if triton is None else triton.jit(fn, do_not_specialize=list(unspecialised))


def torch_op(
    definition: Callable[P, R], launch: Callable[P, Launch] | Callable[P, tuple[Launch, ...]]
) -> Callable[P, R]:
    """Return the op `dit::name`, which torch.compile and export see as one node, of a definition `name_reference`.

    Args:
        definition: its annotations are the op's schema; it is not called.
        launch: of the same arguments; or several, in their order, of which the last has the op's outputs. Raises
            ValueError for what the kernel cannot take. A traced call ends there, with its empty outputs: the number of
            rows may be symbolic, all else that the kernel's code depends on is fixed.
    """
    def launched(*arguments: P.args, **names: P.kwargs) -> tuple[Launch, ...]:
        found = launch(*arguments, **names)
        return found if isinstance(found, tuple) else (found,)

    def run(*arguments: P.args, **names: P.kwargs) -> object:
        launches = launched(*arguments, **names)
        for one in launches:
            one.run()
        return launches[-1].outputs

    def traced(*arguments: P.args, **names: P.kwargs) -> object:
        return launched(*arguments, **names)[-1].outputs

    name = "dit::" + definition.__name__.removesuffix("_reference")
    schema = torch.library.infer_schema(definition, mutates_args=())
    op = torch.library.custom_op(name, run, mutates_args=(), schema=schema)
    op.register_fake(traced)
    return cast("Callable[P, R]", op)


def is_interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter on the CPU (TRITON_INTERPRET=1 when triton was imported)."""
    return triton is not None and bool(triton.knobs.runtime.interpret)


def wants_gradient(*tensors: torch.Tensor | None) -> bool:
    """Return whether what is computed from these tensors will be differentiated."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def has_code(least: tuple[int, int], capability: tuple[int, int] | None) -> bool:
    """Return whether Triton compiles a kernel for NVIDIA's cards of a compute capability or, None, for AMD's.

    Args:
        least: what the kernel needs of NVIDIA. More than LEAST_CAPABILITY is needed for float8_e4m3fn alone, and no
            AMD card is given such a kernel: gfx942 has other formats of eight bits.
        capability: the card's.
    """
    return least == LEAST_CAPABILITY if capability is None else capability >= least


def reaches(device: torch.device, least: tuple[int, int]) -> bool:
    """Return whether a kernel that needs `least` compiles for a device; one without a card, a trace's, passes."""
    if device.type != "cuda" or not (torch.version.hip or torch.cuda.is_available()):
        return True
    return has_code(least, _capability(device))


def takes_kernel(*tensors: torch.Tensor | None, least: tuple[int, int] = LEAST_CAPABILITY) -> bool:
    """Return whether an op on these tensors takes its kernel rather than its definition.

    It does on a card that Triton compiles for, in one of DTYPES, where Triton is installed and nothing is
    differentiated: kernels compute no gradients. The first tensor stands for the device and dtype of all.

    Args:
        tensors: the op's.
        least: the kernel's least capability.
    """
    first = tensors[0]
    if triton is None or first is None or not first.is_cuda or first.dtype not in DTYPES:
        return False
    if wants_gradient(*tensors):
        return False
    return reaches(first.device, least)


def _capability(device: torch.device) -> tuple[int, int] | None:
    """Return the compute capability of a card, None of AMD's."""
    return None if torch.version.hip else torch.cuda.get_device_capability(device)
