"""What only a card can show of decoding: the fused decoder and batches in a decoder of Stable Diffusion's size."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from dit_serve.models.fused_decoder import fuse
from dit_serve.models.sampling.card import CudaCard
from dit_serve.models.sampling.decoding import SIZES, Decoder
from dit_serve.models.vae import VAE
from tests.models.sampling.test_decoding import sample_of

pytestmark = pytest.mark.gpu

CARD = torch.device("cuda")
SHAPE = (4, 32, 32)


@pytest.fixture(scope="module")
def module() -> AutoencoderKL:
    """Stable Diffusion's autoencoder with random weights, in channels_last."""
    module = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=2,
        up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.18215,
    )
    return module.eval().requires_grad_(False).to(CARD, memory_format=torch.channels_last)


def test_the_fused_decoder_gives_the_same_image(module: AutoencoderKL) -> None:
    fused = copy.deepcopy(module)
    fuse(fused.decoder)
    latents = torch.randn(2, *SHAPE, device=CARD) / 0.18215
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        # float32 through 35 convolutions
        torch.testing.assert_close(fused.decode(latents).sample, module.decode(latents).sample, rtol=1e-3, atol=1e-3)


def test_every_number_of_images_that_is_decoded_at_once_gives_those_decoded_alone(module: AutoencoderKL) -> None:
    fused = copy.deepcopy(module).to(torch.bfloat16)
    fuse(fused.decoder)
    decoder, alone = (Decoder(VAE(fused), SHAPE, CARD, is_invariant=True) for _ in range(2))
    decoder.capture(CudaCard(CARD))
    finished = [sample_of(torch.randn(1, *SHAPE, device=CARD)) for _ in range(sum(SIZES))]
    torch.cuda.synchronize()  # no step has made these, whose end the decoder would wait for
    images = decoder(finished)
    assert 1 in decoder.sizes
    assert all(np.array_equal(image, alone([sample])[0]) for image, sample in zip(images, finished, strict=True))
