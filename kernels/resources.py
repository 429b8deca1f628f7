"""What each kernel costs on three targets, found by compiling, without a card: registers, spills, shared memory.

    python -m dit_serve.kernels.resources            # write kernels/RESOURCES.md
    python -m dit_serve.kernels.resources --print    # the table to standard output, nothing written

What is compiled is what the ops launch: their `Launch` values for DiT-XL/2's shapes on fake tensors, with the
specialisation that Triton's own launch would choose. The figures belong to one version of Triton, which brings its own
assembler; they say nothing about speed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dit_serve.kernels.add_bias import add_bias_launch
from dit_serve.kernels.attention import attention_launch
from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate_float8_launch,
    gate_residual_layernorm_modulate_launch,
)
from dit_serve.kernels.gelu_float8 import gelu_float8_launch
from dit_serve.kernels.groupnorm_silu import groupnorm_silu_launches
from dit_serve.kernels.launch import Launch, has_code
from dit_serve.kernels.layernorm_modulate import layernorm_modulate_float8_launch, layernorm_modulate_launch
from dit_serve.kernels.linear import linear_launch
from dit_serve.kernels.linear_float8 import linear_float8_launch
from dit_serve.kernels.sampler_step import sampler_step_launch
from dit_serve.kernels.tiles import TILES, tile_for

TABLE = Path(__file__).with_name("RESOURCES.md")
TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}
POINTER_TYPES = {
    torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int64: "*i64",
    torch.float8_e4m3fn: "*fp8e4nv",
}
WIDTH, HEADS, MLP, TOKENS, ROWS = 1152, 16, 4608, 256, 64  # DiT-XL/2 at 256 pixels, 64 sequences


class Cost(NamedTuple):
    """What a thread and a program use: registers, bytes (NVIDIA) or registers (AMD) spilled, bytes of shared memory."""

    registers: int
    spills: int
    shared: int


@cache
def launches() -> dict[str, Launch]:
    """Return the launches that the table shows, by name."""
    found: dict[str, Launch] = {}
    with FakeTensorMode():
        for dtype in (torch.bfloat16, torch.float32):
            name = str(dtype).removeprefix("torch.")
            found |= {f"{key}, {name}": value for key, value in _token_launches(dtype).items()}
            for length in (16, 64, 256, 257, 1024) if dtype == torch.bfloat16 else (256,):
                qkv = _empty(ROWS, length, 3 * WIDTH, dtype=dtype)
                found[f"attention d = 72, T = {length}, {name}"] = attention_launch(qkv, HEADS)
            found |= {f"{key}, {name}": value for key, value in _linear_launches(dtype).items()}
            found |= {f"{key}, {name}": value for key, value in _groupnorm_launches(dtype).items()}
            found |= {f"{key}, {name}": value for key, value in _add_bias_launches(dtype).items()}
        found |= _linear_float8_launches()
        return found | {"sampler_step O = 2C, with noise": _sampler_step_launch()}


def _token_launches(dtype: torch.dtype) -> dict[str, Launch]:
    x = _empty(ROWS, TOKENS, WIDTH, dtype=dtype)
    gate, shift, scale = _empty(ROWS, 6, WIDTH, dtype=dtype).unbind(1)[:3]
    rows = _empty(ROWS, dtype=torch.int64)
    return {
        "layernorm_modulate D = 1152": layernorm_modulate_launch(x, shift, scale, 1e-6),
        "gate_residual_layernorm_modulate D = 1152": gate_residual_layernorm_modulate_launch(
            x, gate, x, shift, scale, 1e-6
        ),
        "layernorm_modulate D = 1152, rows": layernorm_modulate_launch(x, shift, scale, 1e-6, rows),
        "gate_residual_layernorm_modulate D = 1152, rows": gate_residual_layernorm_modulate_launch(
            x, gate, x, shift, scale, 1e-6, rows
        ),
        "layernorm_modulate_float8 D = 1152, rows": layernorm_modulate_float8_launch(x, shift, scale, 1e-6, rows),
        "gate_residual_layernorm_modulate_float8 D = 1152, rows": gate_residual_layernorm_modulate_float8_launch(
            x, gate, x, shift, scale, 1e-6, rows
        ),
        "gelu_float8 K = 4608": gelu_float8_launch(_empty(ROWS, TOKENS, MLP, dtype=dtype)),
    }


def _linear_launches(dtype: torch.dtype) -> dict[str, Launch]:
    """Return a block's three forms of the product, qkv, fc1 and fc2, and the patches' in the tile that they take.

    Of the other tiles there are the two longest forms, fc1 with its activation and fc2 with its sums.
    """
    def tensors(size: int, out: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return _empty(ROWS, TOKENS, size, dtype=dtype), _empty(out, size, dtype=dtype), _empty(out, dtype=dtype)

    fc1, fc2 = tensors(WIDTH, MLP), tensors(MLP, WIDTH)
    found = {
        "linear 1152 → 3456": linear_launch(*tensors(WIDTH, 3 * WIDTH)),
        "linear 1152 → 4608, gelu_tanh": linear_launch(*fc1, "gelu_tanh"),
        "linear 4608 → 1152": linear_launch(*fc2),
        "linear 16 → 1152, residual": linear_launch(
            *tensors(16, WIDTH), residual=_empty(TOKENS, WIDTH, dtype=dtype)
        ),
    }
    for tile in TILES[dtype]:
        if tile != tile_for(dtype, ROWS * TOKENS, WIDTH):
            found[f"linear {tile} 1152 → 4608, gelu_tanh"] = linear_launch(*fc1, "gelu_tanh", tile=tile)
            found[f"linear {tile} 4608 → 1152"] = linear_launch(*fc2, tile=tile)
    return found


def _groupnorm_launches(dtype: torch.dtype) -> dict[str, Launch]:
    """Return both launches for the images of Stable Diffusion's decoder at 256 pixels, the first and the last."""
    found: dict[str, Launch] = {}
    for channels, side in (512, 32), (512, 128), (256, 256), (128, 256):
        x = _empty(1, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
        weight = _empty(channels, dtype=dtype)
        statistics, norm = groupnorm_silu_launches(x, 32, weight, weight, 1e-6, True)
        where = f"C = {channels}, {side} x {side}"
        found |= {f"groupnorm_silu {where}, statistics": statistics, f"groupnorm_silu {where}": norm}
    return found


def _add_bias_launches(dtype: torch.dtype) -> dict[str, Launch]:
    """Return what the same decoder adds, a bias alone and with a residual; the last image ends within a block."""
    found: dict[str, Launch] = {}
    for channels, side, upsampling in (512, 32, 2), (128, 256, 1), (24, 7, 2):
        h = _empty(1, channels, side, side, dtype=dtype).to(memory_format=torch.channels_last)
        bias, where = _empty(channels, dtype=dtype), f"C = {channels}, {side} x {side}"
        found[f"add_bias {where}"] = add_bias_launch(h, bias)
        upsampled = ", upsampled" if upsampling == 2 else ""
        found[f"add_bias {where}, residual{upsampled}"] = add_bias_launch(h, bias, h, upsampling)
    return found


def _linear_float8_launches() -> dict[str, Launch]:
    """Return fc1, without its activation, and fc2 of operands of float8, in every tile."""
    found = {}
    for size, out in ((WIDTH, MLP), (MLP, WIDTH)):
        x, weight = (_empty(*shape, size, dtype=torch.float8_e4m3fn) for shape in ((ROWS, TOKENS), (out,)))
        scaled = x, _empty(ROWS, TOKENS), weight, _empty(out), _empty(out, dtype=torch.bfloat16)
        for tile in TILES[torch.float8_e4m3fn]:
            found[f"linear_float8 {tile} {size} → {out}"] = linear_float8_launch(*scaled, tile)
    return found


def _sampler_step_launch() -> Launch:
    x, out = _empty(ROWS, 4, 32, 32), _empty(2 * ROWS, 8, 32, 32)
    null_rows = _empty(ROWS, dtype=torch.int64)
    return sampler_step_launch(x, out, null_rows, _empty(ROWS), 3, _empty(ROWS, 10), x, x)


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="cuda")


def compile_for(launch: Launch, target: GPUTarget) -> Any:
    """Return the compiled kernel, specialised as a launch of aligned tensors would be.

    Pointers and integers that are multiples of 16 are known to be; the integer 1 and None are constants; on AMD a
    tensor under 2 GiB is known to be.
    """
    signature: dict[str, str] = {}
    constants: dict[tuple[int, ...], object] = {}
    attributes: dict[tuple[int, ...], list[list[object]]] = {}
    for i, parameter in enumerate(launch.kernel.params):
        value = launch.arguments[parameter.name]
        is_free = isinstance(value, int) and not parameter.is_constexpr
        if isinstance(value, torch.Tensor):
            signature[parameter.name] = POINTER_TYPES[value.dtype]
            small = target.backend == "hip" and value.numel() * value.element_size() < 2**31
            attributes[(i,)] = [["tt.divisibility", 16], *([["tt.pointer_range", 32]] if small else [])]
        elif is_free and (parameter.do_not_specialize or value != 1):
            signature[parameter.name] = "i32"
            if value % 16 == 0 and not parameter.do_not_specialize:
                attributes[(i,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        else:
            signature[parameter.name] = "constexpr"
            constants[(i,)] = value
    source = ASTSource(launch.kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=target, options=launch.options_for(target.backend))


def cost(compiled: Any) -> Cost:
    """Return what a compiled kernel uses, as the assembler and Triton report it."""
    shared = int(compiled.metadata.shared)
    if "amdgcn" in compiled.asm:
        listing = compiled.asm["amdgcn"]
        counts = {key: int(n) for key, n in re.findall(r"\.(\w+_count):\s+(\d+)", listing)}
        return Cost(counts["vgpr_count"], counts["vgpr_spill_count"] + counts["sgpr_spill_count"], shared)
    report = _dumped(compiled.asm["cubin"], "--dump-resource-usage")
    usage = {key: int(n) for key, n in re.findall(r"(REG|STACK):(\d+)", report)}
    return Cost(usage["REG"], usage["STACK"], shared)


def unwritten(listing: str) -> set[int]:
    """Return the uniform registers that disassembled machine code reads and that no instruction of it writes.

    There should be none. ptxas 12.8 leaves one in what it makes of some unrolled chains of sm_90's products: the result
    is wrong or the access illegal, and only a card shows it.
    """
    read, written = set[int](), set[int]()
    for line in listing.splitlines():
        found = re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\d\s+)?(\S+)\s+([^;]*);", line)
        if found is None:
            continue
        opcode, operands = found.groups()
        registers = [int(number) for number in re.findall(r"\bUR(\d+)", operands)]
        if re.match(r"UR\d", operands):  # the first operand is where the result goes
            target, *registers = registers
            width = 4 if ".128" in opcode else 2 if ".64" in opcode or ".WIDE" in opcode else 1
            written.update(range(target, target + width))
        read.update(registers)
    return read - written


def _dumped(cubin: bytes, what: str) -> str:
    """Return what the toolkit's own reader says of machine code."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        return subprocess.run([str(tool), what, file.name], check=True, capture_output=True, text=True).stdout


def table() -> str:
    """Return RESOURCES.md: a row a launch, three columns a target."""
    lines = [
        "# What the kernels use",
        "",
        f"Written by `python -m dit_serve.kernels.resources`, Triton {triton.__version__}; a test keeps it current.",
        "Per target: registers a thread, what is spilled (bytes of stack on NVIDIA, registers on AMD), bytes of shared",
        "memory a program; – is a target that the kernel is not for. Shapes are DiT-XL/2's, 64 sequences; T is 256",
        "where it is not named.",
        "",
        "| kernel | warps | " + " | ".join(TARGETS) + " |",
        "|---|---|" + "---|" * len(TARGETS),
    ]
    with ProcessPoolExecutor() as processes:  # one a core: compilers take a second for each kernel and target
        lines += processes.map(_line, launches())
    return "\n".join(lines) + "\n"


def _line(name: str) -> str:
    """Return the row of a launch by its name."""
    launch = launches()[name]
    cells = " | ".join(_cell(launch, GPUTarget(*target)) for target in TARGETS.values())
    return f"| {name} | {launch.options['num_warps']} | {cells} |"


def _cell(launch: Launch, target: GPUTarget) -> str:
    """Return what a launch costs on a target, or a dash where its kernel is not for it."""
    if not has_code(launch.least_capability, None if target.backend == "hip" else divmod(target.arch, 10)):
        return "–"
    compiled = compile_for(launch, target)
    if target.backend == "cuda" and (lost := unwritten(_dumped(compiled.asm["cubin"], "--dump-sass"))):
        name = launch.kernel.__name__
        raise ValueError(f"{name} for sm_{target.arch} reads uniform registers that nothing writes: {lost}")
    return " / ".join(map(str, cost(compiled)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", dest="is_printed", help="write to standard output instead")
    if parser.parse_args().is_printed:
        print(table(), end="")
    else:
        TABLE.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    main()
