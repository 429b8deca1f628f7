"""Which sequences a batch needs, and that guidance on them is the formula."""

from __future__ import annotations

import torch

from dit_serve.kernels.sampler_step import guide_reference
from dit_serve.models.sampling.guidance import pack


def test_a_guided_sample_takes_two_sequences_and_an_unguided_one_takes_one() -> None:
    packing = pack([7, 3, 5], [4.0, 1.0, 1.5], null_class=10)
    assert packing.sample_of == (0, 1, 2, 0, 2)
    assert packing.classes == (7, 3, 5, 10, 10)
    assert packing.null_rows == (3, 1, 4)


def test_no_samples_need_no_sequences() -> None:
    assert pack([], [], null_class=10).classes == ()


def test_guidance_is_null_plus_scale_times_the_difference_on_the_guided_channels_only() -> None:
    out = torch.randn(5, 8, 3, 3, dtype=torch.float64)
    packing = pack([7, 3, 5], [4.0, 1.0, 1.5], null_class=10)
    scale = torch.tensor([4.0, 1.0, 1.5], dtype=torch.float64)
    guided = guide_reference(out, torch.tensor(packing.null_rows), scale, 3)
    torch.testing.assert_close(guided[0, :3], out[3, :3] + 4.0 * (out[0, :3] - out[3, :3]))
    torch.testing.assert_close(guided[2, :3], out[4, :3] + 1.5 * (out[2, :3] - out[4, :3]))
    assert torch.equal(guided[:, 3:], out[:3, 3:])
    assert torch.equal(guided[1], out[1])
