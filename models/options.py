"""What a model is loaded with, what an image is asked to be, what a loaded model says of itself: plain frozen values.

Needs the standard library alone, so that who has no torch (the HTTP process, the settings, the wire) speaks of models
in the same words as the pipeline.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields

from dit_serve.models.scalars import real, text, whole

DEFAULT_SAMPLER = "ddim"
DEFAULT_GUIDANCE_SCALE = 4.0
DEFAULT_VAE = "stabilityai/sd-vae-ft-ema"  # of the published .pt checkpoints, which bring none
NUMBER_FORMATS = ("float32", "bfloat16", "float16")
MAX_BATCH_SEQUENCES = 64  # of one forward pass; more gain nothing, on any device
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a checkpoint is loaded and run; each field is a flag, a DIT_* variable and an argument of `load_pipeline`.

    A field's metadata is what it means ("help") and, for a number, its bounds ("ge" and "le", as pydantic spells them),
    for a word those that there are ("choices"); None leaves the value to the model and its device.

    Raises:
        ValueError: a value is not allowed.
    """

    vae: str | None = field(
        default=None, metadata={"help": "Folder, file or hub id of the autoencoder, for checkpoints that bring none."}
    )
    weights: str | None = field(
        default=None,
        metadata={
            "help": "Of a file that holds both: model, the weights as trained, or ema, their moving average; "
            "default ema where there is one.",
            "choices": ("model", "ema"),
        },
    )
    device: str | None = field(
        default=None, metadata={"help": "cuda, cuda:N, mps or cpu; default the best one present."}
    )
    dtype: str | None = field(
        default=None,
        metadata={"help": "float32, bfloat16 or float16; default the fastest that the device computes in by itself."},
    )
    precision: str | None = field(
        default=None,
        metadata={
            "help": "fp8: the large products in float8, faster and lossy, on cards of compute capability 8.9 on; "
            "default all in the number format.",
            "choices": ("fp8",),
        },
    )
    batch_invariant: bool = field(
        default=True,
        metadata={
            "help": "Compute in fixed shapes, so that an image's bytes do not depend on what else is in its batch."
        },
    )
    modulation_cache_bytes: int | None = field(
        default=None,
        metadata={
            "help": "Bytes of a model's device memory, 0 to 2^40, for what conditions the images under way; what does "
            "not fit is computed in each step. A card sets them aside at the start; elsewhere they are taken as they "
            "are needed, and all but 8 MiB given back when nothing is to do. Default 2 % of a card's memory; "
            "elsewhere 128 MiB, which the models of a worker share, or less where memory is short.",
            "ge": 0,
            "le": 1 << 40,
        },
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            low, high, value = each.metadata.get("ge"), each.metadata.get("le"), getattr(self, each.name)
            if None not in (low, high, value) and not low <= value <= high:
                raise ValueError(f"{each.name} must be {low} to {high}, got {value}")
            choices = each.metadata.get("choices", (value,))
            if value is not None and value not in choices:
                raise ValueError(f"{each.name} must be {' or '.join(choices)}, got {value!r}")


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """What one image is asked to be: everything that its pixels depend on, beside the model.

    Numbers may come in any library's types, and are Python's own from here on: equal wishes are equal, and print alike.

    Args:
        class_id: 0 to classes - 1.
        seed: 0 to 2**63 - 1.
        steps: number of denoising steps.
        guidance_scale: 1 means no guidance.
        sampler: a name that the model knows.

    Raises:
        ValueError: a field is no number, or no text; all such fields are named. Ranges are the model's to know.
    """

    class_id: int
    seed: int
    steps: int = 50
    guidance_scale: float = DEFAULT_GUIDANCE_SCALE
    sampler: str = DEFAULT_SAMPLER

    def __post_init__(self) -> None:
        plain = {"class_id": whole, "seed": whole, "steps": whole, "guidance_scale": real, "sampler": text}
        faults = []
        for name, read in plain.items():
            try:
                object.__setattr__(self, name, read(getattr(self, name)))
            except ValueError as error:
                faults.append(f"{name} {error}")
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def sequences(self) -> int:
        """How many rows of the network's batch the image takes: two if guided, else one."""
        return 1 if self.guidance_scale == 1 else 2


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a loaded model says of itself.

    Args:
        name: short name for people, requests and receipts.
        resolution: side of its images in pixels.
        num_classes: class ids are 0 to num_classes - 1.
        labels: names by class id, none where unknown.
        max_steps: most denoising steps.
        samplers: names of the samplers, the default one first.
        guidance_channels: how many latent channels are guided.
        dtype, device: where and how it computes, "bfloat16", "cuda:0".
        sha256: of the weights.
        vae: the autoencoder's name, "" if it came with the checkpoint.
        precision: "fp8" where the large products are in float8, else "".
        can_guide: whether it takes a guidance scale other than 1; without a null class there is no guidance.
        rest_sha256: of what its images depend on beside the weights: autoencoder, architecture, noise schedule.
        weights: "model" or "ema", "" where the checkpoint holds one model and does not say which.
        conditioning: which of the paper's blocks it has: in-context, cross-attention, adaln or adaln-zero.
        build: what computes it, see models/build.py: packages and kind of device; by others it may have other bytes.
    """

    name: str
    resolution: int
    num_classes: int
    labels: tuple[tuple[str, ...], ...]
    max_steps: int
    samplers: tuple[str, ...]
    guidance_channels: int
    dtype: str
    device: str
    sha256: str
    vae: str = ""
    precision: str = ""
    weights: str = ""
    can_guide: bool = True
    rest_sha256: str = ""
    conditioning: str = "adaln-zero"
    build: tuple[str, ...] = ()

    @property
    def default_guidance_scale(self) -> float:
        """The guidance scale of a request that names none."""
        return DEFAULT_GUIDANCE_SCALE if self.can_guide else 1.0

    def names(self, class_id: int) -> tuple[str, ...]:
        """The names of a class, none if it has none."""
        return self.labels[class_id] if class_id < len(self.labels) else ()

    def class_name(self, class_id: int) -> str:
        """The first name of a class, "" if it has none."""
        return next(iter(self.names(class_id)), "")


def guidance_fault(model: ModelInfo, scale: float) -> str | None:
    """Return why a model does not take this guidance scale, None if it does."""
    if scale == 1 or model.can_guide:
        return None
    return f"is {scale:g}; {model.name} takes 1 alone, because its label table has no null class to guide by"


def split_name(text: str) -> tuple[str, str]:
    """The name that an operator gives a checkpoint and where it is, of `name=path`; the name is "" where none is given.

    A name is 1 to 64 letters, digits and `._-`: a path with a slash before its first `=` is a path. A `~` at the start
    of the path is expanded.
    """
    named = _NAMED.fullmatch(text)
    return (named[1], expanded(named[2])) if named else ("", expanded(text))


def expanded(path: str) -> str:
    """The path with `~` or `~user` at its start expanded, as a shell does where it sees one.

    It sees none in `--out=~/x` and in a variable. A file or folder that is called so stays as it is, and so does a home
    that nobody has.
    """
    return path if os.path.lexists(path) else os.path.expanduser(path)
