"""What a comparison of images may be asked to be: plain frozen values.

Needs the standard library alone, so that a command line can be read before torch is imported.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dit_serve.models.checks import MAX_SEED
from dit_serve.models.options import ModelOptions

NETWORKS = ("inception", "fashion")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model's images are made; each field is a flag of `dit evaluate`. The defaults are the published protocol.

    Raises:
        ValueError: there are too few images, or not so many seeds.
    """

    images: int = field(default=10_000, metadata={"help": "images that a model makes; papers use 50000"})
    cfg: float | None = field(
        default=None, metadata={"help": "guidance scale, 1 to 20; default 1.5, or 1 where there is no guidance"}
    )
    steps: int = field(default=250, metadata={"help": "denoising steps"})
    sampler: str = field(default="ddpm", metadata={"help": "ddpm, ddim or dpm++"})
    seed: int = field(default=0, metadata={"help": "of a model's first image, the next has one more"})

    def __post_init__(self) -> None:
        if not 2 <= self.images <= MAX_SEED:
            raise ValueError(f"images must be 2 at least, got {self.images}")
        if not 0 <= self.seed <= MAX_SEED - self.images + 1:
            raise ValueError(f"seed must be 0 to {MAX_SEED - self.images + 1} for {self.images} images")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a comparison is made.

    Attributes:
        features: the network, one of `NETWORKS`.
        inception_weights: its weights, if it is the Inception; None for the published ones.
        sampling: how a model makes its images.
        model: how a model is loaded; its device is the network's too.
        resolution: to which pictures are scaled and data sets drawn; None for pictures as they are, and for data sets
            as the other side is.
        batch_size: images that the network sees at once.
        is_cached: whether what was measured is kept, and taken from what was kept.
    """

    features: str = NETWORKS[0]
    inception_weights: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    model: ModelOptions = field(default_factory=ModelOptions)
    resolution: int | None = None
    batch_size: int = 32
    is_cached: bool = True
