"""checkpoints/weights.py: what is loaded is what was stored, converted and in its place; how much memory that takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dit_serve.models.checkpoints.checkpoint import Checkpoint, open_checkpoint
from dit_serve.models.checkpoints.weights import load_dit
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.written import KINDS, TINY, name_as_published, original_state, save_folder, write

CPU = torch.device("cpu")
NARROW = DiTConfig(input_size=8, hidden_size=384, depth=2, num_heads=6, num_classes=10)
PEAK = """
import sys, torch
from pathlib import Path
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.checkpoints.weights import load_dit
def memory(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024
checkpoint = open_checkpoint(sys.argv[1])
before = memory("VmRSS:")
model = load_dit(checkpoint, device=torch.device("cpu"), dtype=getattr(torch, sys.argv[2]))
print(before, memory("VmHWM:"), sum(path.stat().st_size for path in checkpoint.weights))
"""


def load(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> DiT:
    return load_dit(checkpoint, device=CPU, dtype=dtype)


def inputs(config: DiTConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, timesteps and classes of three rows, the null class among them."""
    x = torch.randn(3, config.in_channels, config.input_size, config.input_size)
    return x, torch.tensor([0, 500, 999]), torch.tensor([0, 3, config.num_classes])


@pytest.mark.parametrize(("wanted", "which"), [(None, "ema"), ("model", "model")])
def test_of_a_trainers_safetensors_the_weights_that_are_wanted_are_loaded(
    tmp_path: Path, wanted: str | None, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    states = {"model": original_state(NARROW), "ema": original_state(NARROW)}
    path = tmp_path / "x.safetensors"
    save_file({f"{key}.module.{name}": value for key, state in states.items() for name, value in state.items()}, path)
    checkpoint = open_checkpoint(path, weights=wanted)
    assert checkpoint.which == which
    with caplog.at_level("INFO", logger="dit.models"):
        model = load(checkpoint)
    assert torch.equal(model.patch_embed.weight, states[which]["x_embedder.proj.weight"].flatten(1))
    assert f"x: took the {which}'s 32 tensors, stripped '{which}.module.' from their names" in caplog.text


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("shard", ["10GB", "100KB"])
def test_a_diffusers_folder_gives_diffusers_outputs(tmp_path: Path, shared: bool, shard: str) -> None:
    reference = save_folder(tmp_path, TINY, shared_embedders=shared, shard=shard).transformer
    if shard == "10GB":
        name_as_published(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config.per_block_embedders is not shared
    x, t, y = inputs(TINY)
    with torch.no_grad():
        ours, theirs = load(checkpoint)(x, t, y), reference(x, t, class_labels=y).sample
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_an_original_file_fills_every_tensor_from_its_place(tmp_path: Path) -> None:
    state = original_state(NARROW)
    state["pos_embed"] = torch.randn(1, 16, 384)  # as a file has it, which need not be the usual sines
    save_file(state, tmp_path / "x.safetensors")
    ours = load(open_checkpoint(tmp_path / "x.safetensors")).state_dict()
    for kind in ("weight", "bias"):
        rows = [state[f"blocks.{i}.adaLN_modulation.1.{kind}"] for i in range(2)]
        rows.append(state[f"final_layer.adaLN_modulation.1.{kind}"])
        assert torch.equal(ours[f"modulation.{kind}"], torch.cat(rows))
        assert torch.equal(ours[f"final.{kind}"], state[f"final_layer.linear.{kind}"])
        assert torch.equal(ours[f"blocks.1.qkv.{kind}"], state[f"blocks.1.attn.qkv.{kind}"])
        assert torch.equal(ours[f"blocks.1.proj.{kind}"], state[f"blocks.1.attn.proj.{kind}"])
        assert torch.equal(ours[f"blocks.0.fc1.{kind}"], state[f"blocks.0.mlp.fc1.{kind}"])
        assert torch.equal(ours[f"blocks.0.fc2.{kind}"], state[f"blocks.0.mlp.fc2.{kind}"])
        assert torch.equal(ours[f"embedder.t_in_{kind}"][0], state[f"t_embedder.mlp.0.{kind}"])
        assert torch.equal(ours[f"embedder.t_out_{kind}"][0], state[f"t_embedder.mlp.2.{kind}"])
    assert torch.equal(ours["embedder.label_table"][0], state["y_embedder.embedding_table.weight"])
    assert torch.equal(ours["patch_embed.weight"], state["x_embedder.proj.weight"].flatten(1))
    assert torch.equal(ours["patch_embed.bias"], state["x_embedder.proj.bias"])
    assert torch.equal(ours["pos_embed"], state["pos_embed"][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_weights_come_in_the_models_types_whatever_is_stored(
    tmp_path: Path, dtype: torch.dtype, stored: torch.dtype
) -> None:
    state = {name: tensor.to(stored) for name, tensor in original_state(NARROW).items()}
    save_file(state, tmp_path / "x.safetensors")
    ours = load(open_checkpoint(tmp_path / "x.safetensors"), dtype).state_dict()
    assert {name: tensor.dtype for name, tensor in ours.items()} == {n: DiT.parameter_dtype(n, dtype) for n in ours}
    assert torch.equal(ours["blocks.0.qkv.weight"], state["blocks.0.attn.qkv.weight"].to(dtype))


def test_positions_that_are_not_stored_are_computed_in_float32(tmp_path: Path) -> None:
    save_folder(tmp_path, TINY)
    loaded = load(open_checkpoint(tmp_path), torch.bfloat16).pos_embed
    assert torch.equal(loaded, DiT(TINY).pos_embed)
    assert loaded.dtype == torch.float32


def test_every_tensor_with_nan_or_infinity_is_named(tmp_path: Path) -> None:
    state = original_state(NARROW)
    state["blocks.0.attn.qkv.bias"][5] = torch.nan
    state["final_layer.linear.weight"][0, 0] = -torch.inf
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load(open_checkpoint(tmp_path / "x.safetensors"))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'x.safetensors'}: 2 tensors unusable: ")
    assert "blocks.0.attn.qkv.bias holds NaN or infinity" in message
    assert "final_layer.linear.weight holds NaN or infinity" in message


def test_nan_in_every_copy_of_an_embedder_is_found(tmp_path: Path) -> None:
    save_folder(tmp_path, TINY)
    path = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    for name, tensor in state.items():
        if name.endswith("embedding_table.weight"):
            tensor[3, 3] = torch.nan
    save_file(state, path)
    with pytest.raises(CheckpointError, match=r"3 tensors unusable: transformer_blocks.0.norm1.emb.class_embedder"):
        load(open_checkpoint(tmp_path))


def test_weights_too_large_for_float16_are_refused_in_it_alone(tmp_path: Path) -> None:
    state = original_state(NARROW)
    state["blocks.0.mlp.fc2.weight"][0, 0] = -70_000
    save_file(state, tmp_path / "x.safetensors")
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    load(checkpoint, torch.bfloat16)
    with pytest.raises(CheckpointError, match=r"blocks.0.mlp.fc2.weight reaches 70000, too large for float16"):
        load(checkpoint, torch.float16)


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(original_state(NARROW), path)
    checkpoint = open_checkpoint(path)
    save_file(original_state(replace(NARROW, depth=1)), path)
    with pytest.raises(CheckpointError, match="10 tensors missing"):
        load(checkpoint)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_xl_2_peaks_at_no_more_than_1_2_times_its_file(tmp_path: Path, kind: str) -> None:
    target = tmp_path / f"x.{kind}"
    write(kind, target, DiTConfig())
    before, peak, size = peak_memory(target, "bfloat16")
    shutil.rmtree(tmp_path)  # many gigabytes, that pytest would keep
    assert size >= 2.6e9
    assert peak <= 1.2 * size
    assert before < 0.3 * size  # the child's conversion leaves nothing here


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_holds_the_model_and_little_more(tmp_path: Path) -> None:
    """In bfloat16 that is half the file; 150 MB are for torch's own first use, and the largest tensor passing
    through."""
    path = tmp_path / "x.safetensors"
    write("safetensors", path, DiTConfig(depth=6, hidden_size=768, num_heads=12))
    before, peak, size = peak_memory(path, "bfloat16")
    assert size > 250e6
    assert peak - before <= 0.5 * size + 150e6


def peak_memory(target: Path, dtype: str) -> tuple[int, int, int]:
    """Bytes resident before loading and at the peak of it, in a process of its own, and the size of the weights
    files."""
    child = subprocess.run([sys.executable, "-c", PEAK, str(target), dtype], capture_output=True, text=True, check=True)
    before, peak, size = map(int, child.stdout.split())
    return before, peak, size
