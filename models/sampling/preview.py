"""A cheap look at latents: one linear map from latent channels to colours, fitted to the autoencoder itself.

The decoder's average colour over a latent pixel is close to an affine function of that pixel's channels. The map is
found once, by least squares over one decoded field of smooth random latents, so it fits any autoencoder; no published
constants are needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dit_serve.models.device import plain_arithmetic
from dit_serve.models.vae import VAE

Look = Callable[[], NDArray[np.uint8]]
SIDE = 32  # latent side of the field that the map is fitted on
SEED = 0


class LatentPreview:
    """Turns latents into small pictures for one autoencoder."""

    def __init__(self, vae: VAE, device: torch.device) -> None:
        generator = torch.Generator("cpu").manual_seed(SEED)
        shape = (1, vae.latent_channels, SIDE // 4, SIDE // 4)
        coarse = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
        latents = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")                    # smooth, as images' are
        pixels = vae.decode(latents.to(device))[0].float()                                    # (SIDE·f, SIDE·f, 3)
        colours = F.avg_pool2d(pixels.permute(2, 0, 1), vae.downsampling)                     # (3, SIDE, SIDE)
        self._weights = torch.linalg.lstsq(_with_one(latents), colours.flatten(1).T).solution  # (C + 1, 3)

    def __call__(self, latents: torch.Tensor) -> Look:
        """Return a look at latents (1, C, H, W) as they are now: a function that gives their colours, (H, W, 3) uint8,
        one pixel for each latent pixel.

        On a card nobody waits for the work that is still to make the latents but who calls that function, from whatever
        thread. The copy is in the order of the current stream. The latents' memory goes back to that stream, so that
        what takes it next comes after the copy; and the pinned block is the function's own.
        """
        if not latents.is_cuda:
            picture = self._colours(latents)
            return lambda: picture
        host = torch.empty_like(latents, device="cpu", pin_memory=True).copy_(latents, non_blocking=True)
        copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps: other threads step
        copied.record(torch.cuda.current_stream(latents.device))

        def look() -> NDArray[np.uint8]:
            copied.synchronize()
            return self._colours(host)

        return look

    def _colours(self, latents: torch.Tensor) -> NDArray[np.uint8]:
        with plain_arithmetic(latents.device):
            colours = _with_one(latents.float().cpu()) @ self._weights
        picture: NDArray[np.uint8] = colours.clamp(0, 255).round().to(torch.uint8).view(*latents.shape[2:], 3).numpy()
        return picture


def _with_one(latents: torch.Tensor) -> torch.Tensor:
    """Return latents (1, C, H, W) as rows of channels, each with a 1 for the offset: (H·W, C + 1)."""
    rows = latents[0].flatten(1).T
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
