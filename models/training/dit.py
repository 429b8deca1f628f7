"""Training of a DiT on the latents of labelled images, from nothing to a folder of diffusers' layout.

Improved DDPM's hybrid loss with learned variance (losses.py), labels dropped for classifier-free guidance
(arXiv 2207.12598), an exponential moving average of the weights, AdamW. The defaults are the paper's ("Scalable
Diffusion Models with Transformers", section 4): constant learning rate 1e-4, no weight decay, no warm-up, EMA 0.9999.

A run is a function of its config: all randomness comes from one generator, whose state is saved with weights, EMA and
optimizer, so a run that was stopped and resumed ends in the same bits as one that was not. Knows no sampling.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dit_serve.models.architecture import Conditioned
from dit_serve.models.dit import DiT, DiTConfig
from dit_serve.models.progress import told_steps
from dit_serve.models.sampling.schedule import Schedule
from dit_serve.models.training.datasets import DATA_HELP, open_dataset
from dit_serve.models.training.export import export_pipeline
from dit_serve.models.training.growth import grown, load_state, refuse_another_architecture
from dit_serve.models.training.latents import Augmentation, LatentSource
from dit_serve.models.training.losses import (
    LossTerms,
    NoiseTables,
    add_noise,
    hybrid_loss,
    hybrid_terms,
    min_snr_weight,
)
from dit_serve.models.training.saving import STATE_FILE, STORED, copy_folder, replacing
from dit_serve.models.vae import load_vae


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How a DiT is trained; the defaults are the paper's where the paper says, and a small network otherwise."""

    out: Path = field(metadata={"help": "folder to write, in diffusers' layout; an unfinished run in it is resumed"})
    vae: Path = field(metadata={"help": "folder of the autoencoder, which is copied into the output folder"})
    data: str = field(default="digits", metadata={"help": DATA_HELP})
    resolution: int = field(default=64, metadata={"help": "side of images in pixels, a multiple of the down-sampling"})
    patch_size: int = field(default=2, metadata={"help": "side in latent pixels of what makes one token"})
    hidden_size: int = field(default=160, metadata={"help": "width of a token, a multiple of 4 and of the heads"})
    depth: int = field(default=6, metadata={"help": "number of transformer blocks"})
    num_heads: int = field(default=4, metadata={"help": "attention heads"})
    conditioning: Conditioned = field(
        default="adaln-zero", metadata={"help": "the paper's four blocks: how they take in timestep and class"}
    )
    initial: Path | None = field(
        default=None, metadata={"help": "folder of a run to start from, of the same shape but for a coarser patch"}
    )
    steps: int = field(default=400_000, metadata={"help": "optimizer steps, at least 1"})
    batch_size: int = field(default=256, metadata={"help": "images in one step, at least 1"})
    learning_rate: float = field(default=1e-4, metadata={"help": "of AdamW, at its highest"})
    warmup_steps: int = field(default=0, metadata={"help": "first steps, over which the learning rate rises linearly"})
    decay_steps: int = field(default=0, metadata={"help": "last steps, over which the learning rate falls to zero"})
    weight_decay: float = field(default=0.0, metadata={"help": "of AdamW"})
    beta2: float = field(default=0.999, metadata={"help": "decay of AdamW's second moment, in [0, 1)"})
    max_grad_norm: float = field(default=0.0, metadata={"help": "norm that gradients are clipped to; 0 leaves them"})
    ema_decay: float = field(default=0.9999, metadata={"help": "decay of the weights' average, in [0, 1)"})
    label_dropout: float = field(
        default=0.1, metadata={"help": "share of labels replaced by the null class, in [0, 1), for guidance"}
    )
    snr_gamma: float = field(
        default=0.0, metadata={"help": "cap of Min-SNR weighting of the squared error; 0 leaves the weighting out"}
    )
    flip: bool = field(default=False, metadata={"help": "augmentation: mirror half of the images"})
    reach: int = field(default=0, metadata={"help": "augmentation: move images by up to so many pixels"})
    views: int = field(
        default=1, metadata={"help": "augmented versions of each image, at least 1, where latents are kept in memory"}
    )
    cache_bytes: int = field(
        default=1 << 30, metadata={"help": "bytes for latents of all views; larger ones are computed batch by batch"}
    )
    precision: str = field(
        default="float32",
        metadata={"help": "of the arithmetic, float32 or bfloat16 (autocast); weights and optimizer stay float32"},
    )
    stored: str = field(
        default="float16", metadata={"help": "number format of the exported weights: float16, bfloat16 or float32"}
    )
    device: str = field(default="cpu", metadata={"help": "where the network is: cpu, cuda, cuda:N or mps"})
    save_seconds: float = field(default=300.0, metadata={"help": "seconds between two saves of state and folder"})
    seed: int = field(default=0, metadata={"help": "of all randomness: the same seed gives the same run"})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "views"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.label_dropout < 1.0:
            raise ValueError(f"label_dropout must be in [0, 1), got {self.label_dropout}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")
        if self.stored not in STORED:
            raise ValueError(f"stored must be one of {', '.join(STORED)}, got {self.stored!r}")


def train(config: TrainingConfig, latents: LatentSource | None = None) -> Path:
    """Trains a DiT, or goes on with the unfinished run in `config.out`, and returns that folder.

    Args:
        latents: as of `Trainer`.

    Raises:
        ValueError: data, network and autoencoder do not fit together, or the run in `out` was of another shape.
        CheckpointError: the autoencoder cannot be read, or a file not be written.
    """
    trainer = Trainer(config, latents)
    if (config.out / STATE_FILE).exists():
        trainer.resume()
    saved = time.monotonic()
    with told_steps("training", config.steps, trainer.step) as steps:
        for terms in trainer.run():
            steps.advance(_describe(terms))
            if time.monotonic() - saved > config.save_seconds:
                trainer.save()
                saved = time.monotonic()
    trainer.save()
    return config.out


class Trainer:
    """One run: the network, its average, the optimizer and the generator that all randomness comes from."""

    def __init__(self, config: TrainingConfig, latents: LatentSource | None = None) -> None:
        """Opens data and autoencoder, and makes the network.

        Args:
            latents: of the config's data seen through its autoencoder, where a caller has them; computed if not.
        """
        self.config = config
        self.step = 0
        self.schedule = Schedule()
        self.device = torch.device(config.device)
        self.generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)  # the network's first weights
        dataset = open_dataset(config.data, config.resolution)
        vae = load_vae(config.vae, device=self.device, dtype=torch.float32)
        self.names = dataset.names
        augmentation = Augmentation(config.flip, config.reach)
        self.latents = latents or LatentSource(dataset, vae, augmentation, config.views, config.cache_bytes)
        self.model = DiT(_architecture(config, vae.latent_channels, vae.downsampling, len(dataset.names)))
        if config.initial is not None and not (config.out / STATE_FILE).exists():
            self.model.load_state_dict(grown(load_state(config.initial / STATE_FILE), self.model.config))
        self.model.to(self.device).train()
        self.ema = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.tables = NoiseTables.of(self.schedule)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.9, config.beta2),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def run(self) -> Iterator[LossTerms]:
        """Takes the steps that are left, and yields each step's loss terms when it is done."""
        while self.step < self.config.steps:
            yield self.train_step()

    def train_step(self) -> LossTerms:
        """One update of weights and average; the loss terms of its rows, (N,) each."""
        config = self.config
        x0, y = self.latents.draw(config.batch_size, self.generator)
        y = drop_labels(y, config.label_dropout, self.model.config.num_classes, self.generator)
        t = torch.randint(self.schedule.num_train_timesteps, (len(y),), generator=self.generator)
        eps = torch.randn(x0.shape, generator=self.generator)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_factor(self.step, config)
        terms = self._terms(x0, y, t, eps)
        self.optimizer.zero_grad(set_to_none=True)
        weighted = LossTerms(terms.simple * self._weight(t), terms.vlb)
        hybrid_loss(weighted, self.schedule.num_train_timesteps).backward()  # type: ignore[no-untyped-call]
        if config.max_grad_norm > 0.0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        self.optimizer.step()
        self.step += 1
        update_ema(self.ema, self.model.state_dict(), ema_factor(self.step, config.ema_decay))
        return LossTerms(terms.simple.detach(), terms.vlb.detach())

    def save(self) -> None:
        """Writes the exported folder (of the average) and the state that `resume` reads."""
        config = self.config
        export_pipeline(config.out, self.model.config, self.ema, self.schedule, self.names, STORED[config.stored])
        if not (config.out / "vae" / "config.json").exists():
            copy_folder(config.vae, config.out / "vae", last="config.json")
        state = {
            "architecture": asdict(self.model.config),
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema,
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
        before = DiTConfig(**state["architecture"])  # old ones say less
        refuse_another_architecture(path, asdict(before), asdict(self.model.config))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}
        self.step = state["step"]
        self.generator.set_state(state["generator"])

    def _weight(self, t: torch.Tensor) -> torch.Tensor:
        """What the squared error of rows at timesteps t counts, (N,)."""
        gamma = self.config.snr_gamma
        return min_snr_weight(self.tables, t, gamma) if gamma > 0.0 else torch.ones(len(t))

    def _terms(self, x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> LossTerms:
        """Forward pass in the configured precision; the loss itself in float32, on the CPU."""
        x = add_noise(self.tables, x0, eps, t)
        with ExitStack() as stack:
            if self.config.precision == "bfloat16":
                stack.enter_context(torch.autocast(self.device.type, torch.bfloat16))
            if self.device.type == "cpu":  # the fused attention's backward pass is slow there, most of all in bfloat16
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            output = self.model(x.to(self.device), t.to(self.device), y.to(self.device))
        return hybrid_terms(self.tables, output.float().cpu(), x0, x, eps, t)


def drop_labels(y: torch.Tensor, rate: float, null_class: int, generator: torch.Generator) -> torch.Tensor:
    """Labels (N,) with each replaced by the null class with probability `rate`."""
    is_dropped = torch.rand(len(y), generator=generator) < rate
    return torch.where(is_dropped, null_class, y)


def rate_factor(step: int, config: TrainingConfig) -> float:
    """What step `step` (from 0) multiplies the learning rate by: a linear rise, 1, and a linear fall."""
    rise = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    fall = (config.steps - step) / config.decay_steps if config.decay_steps else 1.0
    return min(1.0, rise, fall)


def ema_factor(step: int, decay: float) -> float:
    """The average's decay at step `step` (from 1): slower to forget as it has seen more, up to `decay`."""
    return min(decay, (1.0 + step) / (10.0 + step))


@torch.no_grad()
def update_ema(ema: dict[str, torch.Tensor], state: dict[str, torch.Tensor], factor: float) -> None:
    """ema = factor * ema + (1 - factor) * state, in place."""
    torch._foreach_lerp_(list(ema.values()), [state[name] for name in ema], 1.0 - factor)


def _architecture(config: TrainingConfig, latent_channels: int, downsampling: int, num_classes: int) -> DiTConfig:
    """The network for these latents; two numbers are fixed to what diffusers computes, so the export is exact."""
    if config.resolution % downsampling:
        raise ValueError(f"resolution {config.resolution} is not a multiple of the autoencoder's {downsampling}")
    return DiTConfig(
        input_size=config.resolution // downsampling,
        patch_size=config.patch_size,
        in_channels=latent_channels,
        hidden_size=config.hidden_size,
        depth=config.depth,
        num_heads=config.num_heads,
        conditioning=config.conditioning,
        num_classes=num_classes,
        frequency_shift=1.0,
    )


def _describe(terms: LossTerms) -> str:
    return f"simple {float(terms.simple.mean()):.4f} vlb {float(terms.vlb.mean()):.4f}"
