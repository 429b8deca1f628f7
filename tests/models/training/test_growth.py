"""A network for finer latents starts by doing what the coarser one did."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dit_serve.models.architecture import Conditioned
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.training.growth import grown, load_state
from tests.models.conditioned import OTHERS

COARSE = DiTConfig(input_size=4, patch_size=2, hidden_size=16, depth=2, num_heads=2, num_classes=3)


def _state(config: DiTConfig = COARSE) -> dict[str, Any]:
    """A saved run with no tensor left at zero."""
    generator = torch.Generator().manual_seed(0)
    noise = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) if name != "pos_embed" else tensor
        for name, tensor in DiT(config).state_dict().items()
    }
    return {"architecture": asdict(config), "ema": noise}


def _model(config: DiTConfig, weights: dict[str, torch.Tensor]) -> DiT:
    model = DiT(config).eval()
    model.load_state_dict(weights)
    return model


@pytest.mark.parametrize(
    ("factor", "conditioning"), [(1, "adaln-zero"), (2, "adaln-zero"), (3, "adaln-zero"), *((2, c) for c in OTHERS)]
)
def test_grown_network_does_to_sums_what_the_coarser_one_did(factor: int, conditioning: Conditioned) -> None:
    coarse = replace(COARSE, conditioning=conditioning)
    state = _state(coarse)
    finer = replace(coarse, input_size=4 * factor, patch_size=2 * factor)
    x = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    t, y = torch.tensor([0, 500, 999]), torch.tensor([0, 1, 3])
    spread = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3) / factor
    with torch.inference_mode():
        expected = _model(coarse, state["ema"])(x, t, y)
        found = _model(finer, grown(state, finer))(spread, t, y)
    sums = torch.nn.functional.avg_pool2d(found, factor) * factor
    torch.testing.assert_close(sums, expected, atol=1e-5, rtol=1e-4)  # the order of float32 additions differs


@pytest.mark.parametrize(
    "other",
    [
        replace(COARSE, depth=3),
        replace(COARSE, input_size=8),  # more tokens
        replace(COARSE, patch_size=1, input_size=2),  # coarser
        replace(COARSE, num_classes=4),
        replace(COARSE, conditioning="adaln"),
    ],
)
def test_growing_into_another_shape_is_refused(other: DiTConfig) -> None:
    with pytest.raises(ValueError, match="cannot grow into"):
        grown(_state(), other)


def test_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no saved run at"):
        load_state(tmp_path / "state.pt")
