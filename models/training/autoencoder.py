"""Training of a small KL autoencoder, the `vae/` of a folder that diffusers and this project both read.

The loss is the evidence lower bound with a Gaussian likelihood ("Auto-Encoding Variational Bayes", Kingma and Welling,
arXiv 1312.6114, eq. 3), divided by the likelihood's precision: mean squared error + kl_weight * KL. With a weight well
above the usual 1e-6 the latent channels that the pictures do not need fall silent, and the decoder learns to put up
with noise in the others: what a diffusion model needs of its latents. No adversarial and no perceptual term: the demo's
pictures are smooth, and squared error makes them exact.

Knows diffusers' AutoencoderKL and the datasets, no diffusion.
"""

from __future__ import annotations

import copy
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from diffusers import AutoencoderKL

from dit_serve.models.progress import told_steps
from dit_serve.models.training.datasets import DATA_HELP, Dataset, open_dataset, shifted
from dit_serve.models.training.growth import load_state, refuse_another_architecture
from dit_serve.models.training.saving import STATE_FILE, STORED, replacing, told

ENCODE_ROWS = 64  # images encoded at once when the latents are measured
MEASURED = 4096  # images are enough to know the latents' deviation to a hundredth


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """How an autoencoder is trained; the defaults are the demo's."""

    out: Path = field(metadata={"help": "folder to write: config.json and diffusion_pytorch_model.safetensors"})
    data: str = field(default="digits", metadata={"help": DATA_HELP})
    resolution: int = field(default=64, metadata={"help": "side of the images in pixels; digits need a multiple of 8"})
    channels: tuple[int, ...] = field(
        default=(8, 16, 32, 32), metadata={"help": "channels of each level; each level but the last halves the side"}
    )
    latent_channels: int = field(default=4, metadata={"help": "channels of the latents"})
    layers_per_block: int = field(default=2, metadata={"help": "residual layers of a level; the decoder has one more"})
    norm_groups: int = field(  # few: a group of one channel would forget how much ink there is
        default=2, metadata={"help": "groups of every group norm; they divide the channels of each level"}
    )
    steps: int = field(default=2600, metadata={"help": "optimizer steps"})
    batch_size: int = field(default=16, metadata={"help": "images in one step"})
    learning_rate: float = field(
        default=2e-3, metadata={"help": "of AdamW at its peak, after 100 steps; then it falls to zero along a cosine"}
    )
    kl_weight: float = field(
        default=3e-5, metadata={"help": "of the KL divergence in nats per image, beside the squared error per value"}
    )
    latent_std: float = field(
        default=1.0, metadata={"help": "standard deviation of the scaled latents; half for twice the side"}
    )
    reach: int = field(default=3, metadata={"help": "augmentation: move images by up to so many pixels"})
    initial: Path | None = field(
        default=None, metadata={"help": "folder of an autoencoder to start from; its own shape is kept"}
    )
    precision: str = field(
        default="float32", metadata={"help": "of the arithmetic, float32 or bfloat16 (autocast); weights stay float32"}
    )
    stored: str = field(
        default="float32", metadata={"help": "number format of the written weights: float16, bfloat16 or float32"}
    )
    save_seconds: float = field(default=120.0, metadata={"help": "seconds between two writings of the folder"})
    seed: int = field(default=0, metadata={"help": "of all randomness: the same seed gives the same run"})

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")
        if self.stored not in STORED:
            raise ValueError(f"stored must be one of {', '.join(STORED)}, got {self.stored!r}")


def train_autoencoder(config: AutoencoderConfig) -> Path:
    """Trains an autoencoder, or goes on with the run in `config.out`, and returns that folder.

    Raises:
        ValueError: the data or the shape of the network do not fit, or the run in `out` was of another shape.
        CheckpointError: a file cannot be written.
    """
    trainer = AutoencoderTrainer(config)
    if (config.out / STATE_FILE).exists():
        trainer.resume()
    saved = time.monotonic()
    with told_steps("autoencoder", config.steps, trainer.step) as steps:
        while trainer.step < config.steps:
            error, nats = trainer.train_step()
            steps.advance(f"error {error:.5f}, {nats:.0f} nats")
            if time.monotonic() - saved > config.save_seconds:
                trainer.save()
                saved = time.monotonic()
    trainer.save()
    return config.out


class AutoencoderTrainer:
    """One run: the network, the optimizer and the generator that all randomness comes from."""

    def __init__(self, config: AutoencoderConfig) -> None:
        self.config = config
        self.step = 0
        torch.manual_seed(config.seed)  # the network's first weights
        self.generator = torch.Generator().manual_seed(config.seed)
        self.dataset = open_dataset(config.data, config.resolution)
        self.vae = _build(config).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            self.vae.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )

    def train_step(self) -> tuple[float, float]:
        """One update; the squared error and the nats."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * _decay(self.step, config.steps)
        rows = torch.randint(len(self.dataset), (config.batch_size,), generator=self.generator)
        images = shifted(self.dataset.batch(rows), config.reach, self.generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
            error, nats = negative_elbo(self.vae, images.contiguous(memory_format=torch.channels_last), self.generator)
        self.optimizer.zero_grad(set_to_none=True)
        (error + config.kl_weight * nats).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return error.item(), nats.item()

    def save(self) -> None:
        """Writes the folder that is served and the state that `resume` reads."""
        config = self.config
        save_autoencoder(self.vae, self.dataset, config.out, config.latent_std, STORED[config.stored])
        state = {
            "architecture": _shape_of(self.vae),
            "step": self.step,
            "model": self.vae.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        with replacing(config.out / STATE_FILE) as partial:
            torch.save(state, partial)

    def resume(self) -> None:
        """Goes back to the saved state.

        Raises:
            ValueError: the state is of another architecture.
        """
        path = self.config.out / STATE_FILE
        state = load_state(path)
        refuse_another_architecture(path, state["architecture"], _shape_of(self.vae))
        self.vae.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.generator.set_state(state["generator"])


def negative_elbo(
    vae: AutoencoderKL, images: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean squared error per value, KL to the unit normal in nats per image), both scalars with gradients.

    Args:
        images: (N, 3, H, W) float32 in [-1, 1].
    """
    posterior = vae.encode(images).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    restored = vae.decode(posterior.mean + posterior.std * noise).sample
    return (restored.float() - images).square().mean(), posterior.kl().mean()


def save_autoencoder(
    vae: AutoencoderKL, dataset: Dataset, folder: Path, latent_std: float, dtype: torch.dtype
) -> None:
    """Writes the folder, with the scaling factor that gives the dataset's latents this standard deviation.

    One is right where neighbouring latents tell different things. Where a picture of the same detail has twice the
    side, four latents tell what one did, and average the noise away: half the deviation keeps the training noise as
    destructive as it was ("simple diffusion", arXiv 2301.11093, section 2.1).
    """
    latents = encode_some(vae, dataset)
    vae.register_to_config(scaling_factor=round(latent_std / float(latents.std()), 6))
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            written = copy.deepcopy(vae)
            for parameter in written.parameters():  # not `to`, which warns of other models than this
                parameter.data = parameter.data.to(dtype, memory_format=torch.contiguous_format)
            written.save_pretrained(partial)
            for file in Path(partial).iterdir():
                os.replace(file, folder / file.name)


@torch.no_grad()
def encode_some(vae: AutoencoderKL, dataset: Dataset) -> torch.Tensor:
    """The posterior means of at most `MEASURED` images, evenly spaced, unscaled: (N, C, h, w) float32."""
    count = min(len(dataset), MEASURED)
    rows = torch.arange(count) * len(dataset) // count
    return torch.cat([vae.encode(dataset.batch(part)).latent_dist.mean for part in torch.split(rows, ENCODE_ROWS)])


def _build(config: AutoencoderConfig) -> AutoencoderKL:
    if config.initial is not None:
        from dit_serve.models.vae import load_vae

        vae = load_vae(config.initial, device=torch.device("cpu"), dtype=torch.float32).module
        vae.register_to_config(sample_size=config.resolution)
        return vae.requires_grad_(True).train()
    levels = len(config.channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.channels,
        latent_channels=config.latent_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_groups,
        sample_size=config.resolution,
    )


def _shape_of(vae: AutoencoderKL) -> dict[str, object]:
    """What must be the same for a saved state to fit."""
    names = ("block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups", "sample_size")
    return {name: list(value) if isinstance(value := vae.config[name], tuple | list) else value for name in names}


def _decay(step: int, steps: int) -> float:
    """Factor of the learning rate: linear over the first 100 steps, then half a cosine to zero."""
    return min(1.0, (step + 1) / 100) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
