"""The autoencoder between pixels and latents: diffusers' AutoencoderKL with its own scaling factor.

The scaling factor, the number of channels and the down-sampling are those of the folder, never assumed. Knows no DiT,
no sampler and no file; checkpoints/vae_folder.py reads those. References: "High-Resolution Image Synthesis with Latent
Diffusion Models" (arXiv 2112.10752), section 4.3.2 and appendix D.1 for the scaling.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from dit_serve.models.checkpoints.components.vae_folder import read_autoencoder
from dit_serve.models.device import plain_arithmetic
from dit_serve.models.fused_decoder import fuse


class VAE:
    """One autoencoder with its own scaling factor."""

    def __init__(self, module: AutoencoderKL) -> None:
        self.module = module.eval().requires_grad_(False)
        self.latent_channels: int = module.config["latent_channels"]
        self.downsampling: int = 2 ** (len(module.config["block_out_channels"]) - 1)
        self.scaling_factor: float = module.config["scaling_factor"]
        self._widened: VAE | None = None

    @property
    def _weight(self) -> torch.nn.Parameter:
        """The first weight, for device and dtype: the module's own `dtype` visits all, a tenth of a decoding's time."""
        weight: torch.nn.Parameter = next(self.module.parameters())
        return weight

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """The latents' mean, scaled: (N, 3, H, W) float in [-1, 1] -> (N, C, h, w) in the weights' dtype."""
        images = images.to(self._weight.device, self._weight.dtype)
        mean: torch.Tensor = self.module.encode(images).latent_dist.mean
        return mean * self.scaling_factor

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels on the CPU: latents (N, C, h, w), any float dtype -> (N, H, W, 3) uint8, rounded as diffusers does."""
        return self.render(latents.to(self._weight.device))[0].cpu()

    @torch.no_grad()
    def render(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels as `decode` has them and whether each image was finite, (N,) bool, both where the latents are."""
        return pixels_of(self.images(latents))

    @torch.no_grad()
    def images(self, latents: torch.Tensor) -> torch.Tensor:
        """The decoder's own output, (N, 3, H, W) float32 in about [-1, 1], where the latents are."""
        latents = (latents.float() / self.scaling_factor).to(self._weight.dtype)
        with plain_arithmetic(latents.device):
            images: torch.Tensor = self.module.decode(latents).sample.float()
        return images

    def widened(self) -> VAE:
        """The same autoencoder in float32, for an image that overflows in fewer bits; made when first asked for."""
        if self._widened is None:
            self._widened = VAE(copy.deepcopy(self.module).float())
        return self._widened


def pixels_of(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the decoder's images as pixels, (N, H, W, 3) uint8, and whether each was finite, (N,) bool."""
    is_finite = images.isfinite().flatten(1).all(1)  # before the clamp makes white of an infinity
    pixels = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (pixels * 255).round().to(torch.uint8), is_finite


def load_vae(folder: Path, *, device: torch.device, dtype: torch.dtype) -> VAE:
    """Return the autoencoder of a folder with config.json and weights, as it is used to serve.

    Raises:
        CheckpointError: see read_autoencoder.
    """
    module = read_autoencoder(folder, device=device, dtype=dtype)
    if device.type == "cuda":  # the layout of tensor cores; on a processor it gains nothing and costs the last bit
        module.to(memory_format=torch.channels_last)
        fuse(module.decoder)  # torch's own group norm would copy each image out of that layout
    return VAE(module)


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The number format of the autoencoder beside a transformer of `dtype`.

    bfloat16 on a card. float32 elsewhere: float16 is too narrow for Stable Diffusion's decoder, and on a processor
    bfloat16 would save one or two hundredths of an image's time for an error of some grey levels.
    """
    return dtype if dtype == torch.bfloat16 and device.type == "cuda" else torch.float32
