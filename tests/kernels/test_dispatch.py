"""Which path each op takes: on a card its kernel, elsewhere its definition. Fake tensors stand in for a card's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from dit_serve.kernels.add_bias import add_bias, add_bias_triton
from dit_serve.kernels.attention import attention, attention_triton
from dit_serve.kernels.gate_residual_layernorm_modulate import (
    gate_residual_layernorm_modulate,
    gate_residual_layernorm_modulate_float8,
    gate_residual_layernorm_modulate_float8_triton,
    gate_residual_layernorm_modulate_triton,
)
from dit_serve.kernels.gelu_float8 import gelu_float8, gelu_float8_launch, gelu_float8_triton
from dit_serve.kernels.groupnorm_silu import groupnorm_silu, groupnorm_silu_triton
from dit_serve.kernels.launch import FLOAT8_CAPABILITY, takes_kernel, triton
from dit_serve.kernels.layernorm_modulate import (
    layernorm_modulate,
    layernorm_modulate_float8,
    layernorm_modulate_float8_triton,
    layernorm_modulate_triton,
)
from dit_serve.kernels.linear import linear, linear_triton
from dit_serve.kernels.linear_float8 import linear_float8, linear_float8_triton
from dit_serve.kernels.sampler_step import COLUMNS, sampler_step, sampler_step_triton

Op = Callable[..., object]
needs_triton = pytest.mark.skipif(triton is None, reason="no Triton for this machine: every op takes its definition")


def calls(device: str) -> dict[str, tuple[Op, Op, tuple[object, ...]]]:
    """Return by name and form: the op as the models call it, its launcher, and arguments of two rows on the device."""
    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, device=device)

    x, vectors, latents, qkv = zeros(2, 4, 24), zeros(2, 24), zeros(2, 4, 3, 3), zeros(2, 4, 72)
    null_rows = torch.zeros(2, dtype=torch.int64, device=device)
    pool = zeros(3, 24)
    step = (latents, zeros(3, 8, 3, 3), null_rows, zeros(2), 3, zeros(2, len(COLUMNS)), latents, latents)
    product = (x, zeros(8, 24), zeros(8), "gelu_tanh")
    fused = (x, vectors, x, vectors, vectors, 1e-5)
    images = zeros(2, 8, 3, 5).to(memory_format=torch.channels_last)
    narrow = [each.to(torch.float8_e4m3fn) for each in (x, product[1])]
    return {
        "attention": (attention, attention_triton, (qkv, 2)),
        "layernorm_modulate": (layernorm_modulate, layernorm_modulate_triton, (x, vectors, vectors, 1e-5)),
        "gate_residual_layernorm_modulate": (
            gate_residual_layernorm_modulate, gate_residual_layernorm_modulate_triton, fused
        ),
        "layernorm_modulate, rows": (
            layernorm_modulate, layernorm_modulate_triton, (x, pool, pool, 1e-5, null_rows)
        ),
        "gate_residual_layernorm_modulate, rows": (
            gate_residual_layernorm_modulate, gate_residual_layernorm_modulate_triton,
            (x, pool, x, pool, pool, 1e-5, null_rows),
        ),
        "layernorm_modulate_float8": (
            layernorm_modulate_float8, layernorm_modulate_float8_triton, (x, vectors, vectors, 1e-5)
        ),
        "gate_residual_layernorm_modulate_float8": (
            gate_residual_layernorm_modulate_float8, gate_residual_layernorm_modulate_float8_triton, fused
        ),
        "gelu_float8": (gelu_float8, gelu_float8_triton, (x,)),
        "sampler_step": (sampler_step, sampler_step_triton, step),
        "groupnorm_silu": (groupnorm_silu, groupnorm_silu_triton, (images, 4, zeros(8), zeros(8), 1e-6, True)),
        "add_bias": (add_bias, add_bias_triton, (images, zeros(8))),
        "add_bias, residual and upsampling": (add_bias, add_bias_triton, (images, zeros(8), images, 2)),
        "linear": (lambda *a: linear(*a, batch_invariant=True), linear_triton, product),
        "linear_float8": (
            linear_float8, linear_float8_triton, (narrow[0], zeros(2, 4), narrow[1], zeros(8), zeros(8))
        ),
    }


def exported(op: Op, arguments: tuple[object, ...], rows: object = torch.export.Dim.STATIC) -> list[torch.fx.Node]:
    """Return the nodes of the operators that torch.export sees in a call of the op, its two rows static or free."""
    class Call(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> object:
            left = iter(tensors)
            return op(*(next(left) if isinstance(value, torch.Tensor) else value for value in arguments))

    tensors = tuple(value for value in arguments if isinstance(value, torch.Tensor))
    sides = tuple({value.shape.index(2): rows} if 2 in value.shape else None for value in tensors)
    graph = torch.export.export(Call(), tensors, dynamic_shapes=(sides,)).graph
    return [node for node in graph.nodes if isinstance(node.target, torch._ops.OpOverload)]


def nodes(op: Op, arguments: tuple[object, ...]) -> list[str]:
    """Return the names of those operators."""
    return [node.target.name() for node in exported(op, arguments)]


@needs_triton
@pytest.mark.parametrize("name", list(calls("cpu")))
def test_export_sees_one_node_for_an_op_on_a_card(name: str) -> None:
    with torch.no_grad(), FakeTensorMode():
        op, _, arguments = calls("cuda")[name]
        assert nodes(op, arguments) == [f"dit::{name.split(',')[0]}"]


@needs_triton
@pytest.mark.parametrize("name", list(calls("cpu")))
def test_export_leaves_the_number_of_rows_free(name: str) -> None:
    with torch.no_grad(), FakeTensorMode():
        op, _, arguments = calls("cuda")[name]
        found = exported(op, arguments, torch.export.Dim.AUTO)
        (value,) = (node.meta["val"] for node in found if node.target.name() == f"dit::{name.split(',')[0]}")
        rows = (value[0] if isinstance(value, tuple) else value).shape[0]
        assert isinstance(rows, torch.SymInt)


@needs_triton
def test_linear_on_a_card_is_left_to_the_library_unless_asked_for() -> None:
    with torch.no_grad(), FakeTensorMode():
        _, _, arguments = calls("cuda")["linear"]
        assert "dit::linear" not in nodes(linear, arguments)


@needs_triton
def test_images_in_another_layout_than_channels_last_take_the_definition_on_a_card() -> None:
    with torch.no_grad(), FakeTensorMode():
        _, _, (last, *rest) = calls("cuda")["groupnorm_silu"]
        images = torch.zeros(2, 8, 3, 5, device="cuda")
        assert "dit::groupnorm_silu" not in nodes(groupnorm_silu, (images, *rest))
        for h, residual in (images, None), (images, last), (last, images):
            assert "dit::add_bias" not in nodes(add_bias, (h, rest[1], residual))


@needs_triton
def test_heads_beyond_the_kernels_size_take_the_definition_on_a_card() -> None:
    with torch.no_grad(), FakeTensorMode():
        qkv = torch.zeros(1, 4, 3 * 136, device="cuda")
        assert "dit::attention" not in nodes(attention, (qkv, 1))
        assert nodes(attention, (qkv, 2)) == ["dit::attention"]


@pytest.mark.parametrize("name", list(calls("cpu")))
def test_no_kernel_runs_without_a_card(name: str) -> None:
    op, launcher, arguments = calls("cpu")[name]
    assert not any(node.startswith("dit::") for node in nodes(op, arguments))
    with pytest.raises(ValueError, match="must be on a CUDA device, got cpu"):
        launcher(*arguments)


@needs_triton
def test_a_kernel_is_taken_for_float_tensors_on_a_card_that_want_no_gradient() -> None:
    with FakeTensorMode():
        x = torch.zeros(2, device="cuda")
        assert takes_kernel(x, None)
        assert takes_kernel(x.half())
        assert not takes_kernel(x.double())
        assert not takes_kernel(x.cpu())
        wanted = torch.zeros(2, device="cuda", requires_grad=True)
        assert not takes_kernel(x, wanted)
        with torch.no_grad():
            assert takes_kernel(x, wanted)


@needs_triton
@pytest.mark.parametrize(
    ("hip", "capability", "takes", "got"),
    [(None, (8, 0), True, "8.0"), (None, (7, 5), False, "7.5"), ("7.0", (9, 4), True, "AMD's")],
)
def test_a_card_without_float8_takes_the_definition_and_refuses_the_launch(
    hip: str | None, capability: tuple[int, int], takes: bool, got: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTensorMode():
        x = torch.zeros(2, 3, 8, device="cuda")
        launch = gelu_float8_launch(x)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert takes_kernel(x) == takes
    assert not takes_kernel(x, least=FLOAT8_CAPABILITY)
    with pytest.raises(ValueError, match=f"needs an NVIDIA card of compute capability 8.9 or more, got {got}"):
        launch.run()


@needs_triton
def test_a_card_with_float8_takes_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        x = torch.zeros(2, 3, 8, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: FLOAT8_CAPABILITY)
    assert takes_kernel(x, least=FLOAT8_CAPABILITY)


def test_without_triton_the_definitions_serve_and_launchers_say_so() -> None:
    program = """
import sys
sys.modules["triton"] = None  # as on macOS: import triton fails
import torch
import dit_serve.kernels.linear_ways, dit_serve.kernels.sampler_step
from dit_serve.kernels.attention import attention
from dit_serve.kernels.gate_residual_layernorm_modulate import gate_residual_layernorm_modulate
from dit_serve.kernels.launch import Launch, takes_kernel
qkv, x, v = torch.ones(1, 2, 24), torch.ones(1, 2, 8), torch.ones(1, 8)
assert attention(qkv, 2).shape == (1, 2, 8)
assert gate_residual_layernorm_modulate(x, v, x, v, v, 1e-6)[1].shape == (1, 2, 8)
assert not takes_kernel(qkv)
try:
    Launch(x, None, 1, {}, {}).run()
except RuntimeError as error:
    assert "needs Triton, which is not installed" in str(error)
    print("as meant")
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert child.stdout == "as meant\n", child.stderr
