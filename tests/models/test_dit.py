"""The DiT by itself; its equality with diffusers' model stands in test_parity.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dit_serve.kernels.linear import linear
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.tokens import patchify, sincos_positions, timestep_waves, unpatchify

SMALL = DiTConfig(input_size=8, patch_size=2, hidden_size=48, depth=3, num_heads=4, num_classes=10)


def random_dit(config: DiTConfig, seed: int = 0) -> DiT:
    """Return a float64 DiT with every weight drawn at random, gates included."""
    generator = torch.Generator().manual_seed(seed)
    model = DiT(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(4, 4, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 500, 999]), torch.tensor([0, 3, 9, 10])


def test_a_new_model_is_zero_as_the_paper_initialises_it(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    model = DiT(SMALL)
    tokens, normed = torch.randn(4, 16, 48), torch.randn(4, 16, 48)
    block = model.blocks[0]
    assert torch.equal(block(tokens, normed, model.modulations(t, y)[:, 2:8], model.products, model.final)[0], tokens)
    assert not model(x.float(), t, y).any()


@pytest.mark.parametrize("learn_sigma", [False, True])
def test_output_has_noise_and_learned_variance(inputs: tuple[torch.Tensor, ...], learn_sigma: bool) -> None:
    x, t, y = inputs
    out = random_dit(replace(SMALL, learn_sigma=learn_sigma))(x, t, y)
    assert out.shape == (4, 8 if learn_sigma else 4, 8, 8)
    assert out.dtype == torch.float32


def test_a_row_does_not_depend_on_its_neighbours(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    model = random_dit(SMALL)
    together = model(x, t, y)
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-7)  # float64 inside, float32 at the end


def test_time_class_and_place_all_matter(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    model = random_dit(SMALL)
    out = model(x, t, y)
    assert (model(x, t.flip(0), y) - out).abs().max() > 1e-3
    assert (model(x, t, y.flip(0)) - out).abs().max() > 1e-3
    assert (model(x.flip(-1), t, y).flip(-1) - out).abs().max() > 1e-3


def test_modulations_computed_beforehand_give_the_same_output(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    model = random_dit(SMALL)
    modulations = model.modulations(t, y)
    assert modulations.shape == (4, 6 * 3 + 2, 48)
    assert torch.equal(model.denoise(x, modulations), model(x, t, y))


def test_modulations_may_be_rows_of_a_pool(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    model = random_dit(SMALL)
    modulations = model.modulations(t, y)
    pool, rows = torch.cat([torch.randn_like(modulations), modulations.flip(0)]), torch.tensor([7, 6, 5, 4])
    assert torch.equal(model.denoise(x, pool, rows), model.denoise(x, modulations))


def test_in_float8_the_output_is_near_and_not_the_same(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    model = random_dit(SMALL).float()
    exact = model(x, t, y)
    assert not model.is_float8
    model.quantise()
    assert model.is_float8
    narrow = model(x, t, y)
    assert narrow.dtype == torch.float32
    assert 1e-4 < (narrow - exact).norm() / exact.norm() < 0.1
    alone = torch.cat([model(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(narrow, alone, rtol=0, atol=0.05 * float(exact.abs().max()))  # a rounding may turn


@pytest.mark.parametrize("batch_invariant", [False, True])
def test_every_product_of_a_step_is_asked_for_as_the_model_is_told(
    inputs: tuple[torch.Tensor, ...], batch_invariant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, t, y = inputs
    asked = []

    def recorded(*arguments: Any, batch_invariant: bool, residual: torch.Tensor | None) -> torch.Tensor:
        asked.append(batch_invariant)
        return linear(*arguments, batch_invariant=batch_invariant, residual=residual)

    model = random_dit(SMALL)
    model.products.batch_invariant = batch_invariant
    monkeypatch.setattr("dit_serve.models.products.linear", recorded)
    model(x, t, y)
    assert asked == [batch_invariant] * (4 * SMALL.depth + 2)  # a block's four, the patches and the final layer


def test_embedders_per_block_that_agree_equal_one_embedder(inputs: tuple[torch.Tensor, ...]) -> None:
    x, t, y = inputs
    shared, per_block = random_dit(SMALL), random_dit(replace(SMALL, per_block_embedders=True))
    state = {
        name: tensor.expand(3, *tensor.shape[1:]) if name.startswith("embedder.") else tensor
        for name, tensor in shared.state_dict().items()
    }
    per_block.load_state_dict(state)
    torch.testing.assert_close(per_block(x, t, y), shared(x, t, y))


def test_embedders_per_block_are_used_by_their_block_and_the_final_layer_uses_the_first() -> None:
    model = random_dit(replace(SMALL, per_block_embedders=True))
    t, y = torch.tensor([7]), torch.tensor([3])
    before = model.modulations(t, y)
    model.embedder.label_table[1] += 1.0
    changed = (model.modulations(t, y) != before).flatten(2).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == list(range(6, 12))
    model.embedder.label_table[0] += 1.0
    changed = (model.modulations(t, y) != before).flatten(2).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [*range(12), 18, 19]


def test_patchify_takes_squares_row_by_row_channel_first_and_unpatchify_puts_the_channel_last() -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    tokens = patchify(x, 2)
    assert tokens.shape == (2, 6, 12)
    assert torch.equal(tokens[1, 4].view(3, 2, 2), x[1, :, 2:4, 2:4])
    square = torch.randn(2, 3, 8, 8)
    tokens = patchify(square, 4).view(2, 4, 3, 16).transpose(2, 3).reshape(2, 4, 48)
    assert torch.equal(unpatchify(tokens, 4), square)


def test_positions_are_fixed_waves_of_column_then_row() -> None:
    positions = sincos_positions(16, 3)
    assert positions.shape == (9, 16)
    omega = 1 / 10000 ** (np.arange(4) / 4)
    row, column = 2, 1
    expected = [*np.sin(column * omega), *np.cos(column * omega), *np.sin(row * omega), *np.cos(row * omega)]
    np.testing.assert_allclose(positions[row * 3 + column], expected)


def test_timestep_waves_are_cosines_then_sines() -> None:
    waves = timestep_waves(torch.tensor([0, 250]), 0.0)
    assert waves.shape == (2, 256)
    k = torch.arange(128)
    expected = torch.cat([torch.cos(250 * 10000 ** (-k / 128)), torch.sin(250 * 10000 ** (-k / 128))])
    torch.testing.assert_close(waves[1], expected, rtol=0, atol=5e-5)  # angles of 250 in float32
    torch.testing.assert_close(waves[0], torch.cat([torch.ones(128), torch.zeros(128)]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"input_size": 9}, "input_size 9 must be a multiple of patch_size 2"),
        ({"num_heads": 5}, "hidden_size 48 must be a multiple of num_heads 5"),
        ({"hidden_size": 6, "num_heads": 2}, "hidden_size 6 must be a multiple of 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **settings)
