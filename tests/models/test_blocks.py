"""The paper's four blocks against the paper, written down here once more: plainly, in float64, from the weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from dit_serve.kernels.linear import linear as linear_layer
from dit_serve.models.architecture import CONDITIONED, Conditioned
from dit_serve.models.dit import DiT, DiTConfig
from tests.models.conditioned import OTHERS, SMALL, random_dit

ALL_BLOCKS = pytest.mark.parametrize("conditioning", CONDITIONED)
State = dict[str, torch.Tensor]
CONFIG = replace(SMALL, depth=3, mlp_ratio=2.5, mlp_norm_eps=0.01)  # an epsilon that shows in the result
T, Y = torch.tensor([0, 1, 7, 20]), torch.tensor([0, 3, 9, 10])  # low timesteps: the waves' angles are float32


def layer_norm(x: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def affine_norm(state: State, name: str, x: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    return layer_norm(x, eps) * state[f"{name}.weight"] + state[f"{name}.bias"]


def modulated_norm(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    return layer_norm(x, eps) * (1 + scale[:, None]) + shift[:, None]


def linear(state: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """One head after another."""
    of_heads = zip(*(each.chunk(heads, dim=2) for each in (q, k, v)), strict=True)
    return torch.cat([(a @ b.mT / math.sqrt(a.shape[2])).softmax(-1) @ c for a, b, c in of_heads], dim=2)


def self_attention(state: State, block: str, x: torch.Tensor, heads: int) -> torch.Tensor:
    return linear(state, f"{block}.proj", attend(*linear(state, f"{block}.qkv", x).chunk(3, dim=2), heads))


def mlp(state: State, block: str, x: torch.Tensor) -> torch.Tensor:
    h = linear(state, f"{block}.fc1", x)
    h = h / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
    return linear(state, f"{block}.fc2", h)


def embeddings(state: State, config: DiTConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the timesteps T and of the classes Y, (N, D) each."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(128) / (128 - config.frequency_shift)).double()
    angles = T[:, None] * frequencies
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    h = waves @ state["embedder.t_in_weight"][0].T + state["embedder.t_in_bias"][0]
    h = (h * h.sigmoid()) @ state["embedder.t_out_weight"][0].T + state["embedder.t_out_bias"][0]
    return h, state["embedder.label_table"][0, Y]


def in_context(state: State, config: DiTConfig, x: torch.Tensor) -> torch.Tensor:
    x = torch.cat([x, torch.stack(embeddings(state, config), dim=1)], dim=1)
    for block in (f"blocks.{i}" for i in range(config.depth)):
        x = x + self_attention(state, block, affine_norm(state, f"{block}.attention_norm", x), config.num_heads)
        x = x + mlp(state, block, affine_norm(state, f"{block}.mlp_norm", x, config.mlp_norm_eps))
    return affine_norm(state, "final_norm", x[:, :-2])


def cross_attention(state: State, config: DiTConfig, x: torch.Tensor) -> torch.Tensor:
    conditions = torch.stack(embeddings(state, config), dim=1)
    of_blocks = linear(state, "modulation", conditions).chunk(config.depth, dim=2)
    for i, keys_and_values in enumerate(of_blocks):
        block, (keys, values) = f"blocks.{i}", keys_and_values.chunk(2, dim=2)
        x = x + self_attention(state, block, affine_norm(state, f"{block}.attention_norm", x), config.num_heads)
        queries = linear(state, f"{block}.cross_query", affine_norm(state, f"{block}.cross_norm", x))
        x = x + linear(state, f"{block}.cross_proj", attend(queries, keys, values, config.num_heads))
        x = x + mlp(state, block, affine_norm(state, f"{block}.mlp_norm", x, config.mlp_norm_eps))
    return affine_norm(state, "final_norm", x)


def adaptive(state: State, config: DiTConfig, x: torch.Tensor) -> torch.Tensor:
    """With adaLN blocks, whose gates are 1, and with adaLN-Zero blocks."""
    c = sum(embeddings(state, config))
    vectors = list(linear(state, "modulation", c * c.sigmoid()).split(config.hidden_size, dim=1))
    for block in (f"blocks.{i}" for i in range(config.depth)):
        for branch in ("attention", "mlp"):
            shift, scale = vectors.pop(0), vectors.pop(0)
            gate = vectors.pop(0)[:, None] if config.conditioning == "adaln-zero" else 1
            if branch == "attention":
                x = x + gate * self_attention(state, block, modulated_norm(x, shift, scale), config.num_heads)
            else:
                x = x + gate * mlp(state, block, modulated_norm(x, shift, scale, config.mlp_norm_eps))
    return modulated_norm(x, *vectors)


def network(model: DiT, x: torch.Tensor) -> torch.Tensor:
    """What the paper's network makes of latents x (N, C, H, W) at timesteps T of classes Y."""
    state, config, patch = model.state_dict(), model.config, model.config.patch_size
    side = config.input_size // patch
    patches = [x[:, :, patch * i : patch * (i + 1), patch * j : patch * (j + 1)].flatten(1)
               for i in range(side) for j in range(side)]  # fmt: skip
    h = linear(state, "patch_embed", torch.stack(patches, dim=1)) + state["pos_embed"]
    walk = {"in-context": in_context, "cross-attention": cross_attention}.get(config.conditioning, adaptive)
    squares = linear(state, "final", walk(state, config, h)).unflatten(2, (patch, patch, -1)).movedim(4, 2)
    lines = [torch.cat(list(squares[:, side * i : side * (i + 1)].unbind(1)), dim=3) for i in range(side)]
    return torch.cat(lines, dim=2)


@ALL_BLOCKS
@pytest.mark.parametrize("learn_sigma", [True, False])
def test_the_network_is_the_papers(conditioning: Conditioned, learn_sigma: bool) -> None:
    model = random_dit(replace(CONFIG, conditioning=conditioning, learn_sigma=learn_sigma)).double()
    x = torch.randn(4, 4, 8, 8, dtype=torch.float64)
    expected = network(model, x)
    assert expected.std() > 0.1
    found = model(x, T, Y)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)  # float32 waves of t, and at the end


@ALL_BLOCKS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_sixteen_bits_it_is_the_same_but_for_rounding(conditioning: Conditioned, dtype: torch.dtype) -> None:
    model = random_dit(replace(CONFIG, conditioning=conditioning))
    x = torch.randn(4, 4, 8, 8)
    exact = model(x, T, Y)
    found = model.to(dtype)(x, T, Y)
    assert found.dtype == torch.float32
    assert 1e-5 < (found - exact).norm() / exact.norm() < 0.03


@ALL_BLOCKS
def test_modulations_computed_beforehand_may_be_rows_of_a_pool(conditioning: Conditioned) -> None:
    model = random_dit(replace(CONFIG, conditioning=conditioning))
    x, modulations = torch.randn(4, 4, 8, 8), model.modulations(T, Y)
    assert modulations.shape == (4, model.config.modulation_vectors, 48)
    pool, rows = torch.cat([torch.randn_like(modulations), modulations.flip(0)]), torch.tensor([7, 6, 5, 4])
    assert torch.equal(model.denoise(x, pool, rows), model(x, T, Y))


@pytest.mark.parametrize("batch_invariant", [False, True])
def test_in_context_products_have_whole_rows_where_no_bit_may_depend_on_their_number(
    batch_invariant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = random_dit(replace(CONFIG, conditioning="in-context")), []
    x, exact = torch.randn(4, 4, 8, 8), random_dit(replace(CONFIG, conditioning="in-context"))

    def counted(x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        rows.append(x.shape[0] * x.shape[1])
        return linear_layer(x, *rest, **options)

    model.products.batch_invariant = batch_invariant
    monkeypatch.setattr("dit_serve.models.products.linear", counted)
    found = model(x, T, Y)
    monkeypatch.undo()
    torch.testing.assert_close(found, exact(x, T, Y), rtol=1e-5, atol=1e-5)  # of float32
    blocks = 4 * CONFIG.depth * [80 if batch_invariant else 4 * 18]
    assert rows == [4 * 16, *blocks, 4 * 16]


@ALL_BLOCKS
def test_gradients_flow_to_every_parameter(conditioning: Conditioned) -> None:
    model = random_dit(replace(CONFIG, conditioning=conditioning))
    model(torch.randn(4, 4, 8, 8), T, Y).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@ALL_BLOCKS
def test_a_new_model_gives_zero_and_its_norms_leave_everything_as_it_is(conditioning: Conditioned) -> None:
    model = DiT(replace(CONFIG, conditioning=conditioning))
    x = torch.randn(4, 4, 8, 8)
    assert not model(x, T, Y).any()
    torch.nn.init.xavier_uniform_(model.final.weight)
    is_same = torch.equal(model(x, T, Y), model(x, T.flip(0), Y.flip(0)))
    assert is_same == model.config.has_adaptive_norms  # the others hear of t and y from the first step on
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert bool((parameter == name.endswith("weight")).all()), name


def test_keys_and_values_of_each_block_begin_as_a_layer_of_their_own() -> None:
    model = DiT(replace(CONFIG, conditioning="cross-attention"))
    bound = math.sqrt(6 / (48 + 2 * 48))  # Glorot and Bengio 2010, eq. 16
    for of_block in model.modulation.weight.detach().split(2 * 48):  # type: ignore[no-untyped-call]
        assert 0.9 * bound < of_block.abs().max() <= bound


@pytest.mark.parametrize("conditioning", OTHERS)
def test_embedders_per_block_are_for_adaln_zero_alone(conditioning: Conditioned) -> None:
    with pytest.raises(ValueError, match=f"goes with conditioning adaln-zero alone, got {conditioning}"):
        replace(CONFIG, conditioning=conditioning, per_block_embedders=True)


@pytest.mark.parametrize("conditioning", OTHERS)
def test_float8_is_for_adaln_zero_alone(conditioning: Conditioned) -> None:
    model = random_dit(replace(CONFIG, conditioning=conditioning))
    with pytest.raises(ValueError, match=f"float8 is for conditioning adaln-zero alone, got {conditioning}"):
        model.quantise()
    assert not model.is_float8


def test_blocks_that_the_paper_has_not_are_refused() -> None:
    words = "conditioning must be one of in-context, cross-attention, adaln, adaln-zero, got 'adaLN'"
    with pytest.raises(ValueError, match=words):
        replace(CONFIG, conditioning="adaLN")
