"""diffusers' DiTPipeline on a folder of ours, as both peers run it. Knows no server.

DiTPipeline takes class 1000 for "no class" whatever the model has. A model of ten classes has its null class in row 10,
so each label table is padded to 1001 rows with that row at 1000: the same arithmetic, the same cost of a look-up.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

NULL_CLASS = 1000  # written into diffusers/pipelines/dit/pipeline_dit.py


@dataclass(frozen=True, slots=True)
class Wanted:
    """One image that a client asked for."""

    class_id: int
    seed: int
    steps: int
    cfg: float


def load(folder: Path, dtype: str) -> DiTPipeline:
    """The pipeline in "float32" or "bfloat16", silent, with the null class where it looks for it."""
    number_format = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    transformer = DiTTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=number_format)
    for block in transformer.transformer_blocks:
        move_null_class(block.norm1.emb.class_embedder)
    pipeline = DiTPipeline(
        transformer,
        AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=number_format),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def move_null_class(embedder: Any) -> None:
    """Pads a label table so that its last row, the null class, is row 1000 too."""
    table = embedder.embedding_table.weight.detach()  # (classes + 1, D)
    if len(table) > NULL_CLASS:
        return
    padding = table[-1:].expand(NULL_CLASS + 1 - len(table), -1)
    whole = torch.cat([table, padding])
    embedder.embedding_table = torch.nn.Embedding.from_pretrained(whole)  # type: ignore[no-untyped-call]


def make_pngs(pipeline: DiTPipeline, wanted: Sequence[Wanted]) -> list[bytes]:
    """The PNGs of images that share steps and cfg, in one call."""
    first = wanted[0]
    generators = [torch.Generator("cpu").manual_seed(each.seed) for each in wanted]
    images = pipeline([each.class_id for each in wanted], first.cfg, generators, first.steps).images
    return [_png(image) for image in images]


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
