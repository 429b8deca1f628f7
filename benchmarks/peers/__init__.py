"""What users write today: diffusers' DiTPipeline on a folder of ours, behind FastAPI or LitServe. Knows no measurement.

DiTPipeline takes class 1000 for "no class" whatever the model has. A model of ten classes has its null class in row 10,
so each label table is padded to 1001 rows with that row at 1000: the same arithmetic, the same cost of a look-up.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from fastapi import FastAPI, Response

from benchmarks.load import Ask

NULL_CLASS = 1000  # written into diffusers/pipelines/dit/pipeline_dit.py


def load(folder: Path, dtype: str) -> DiTPipeline:
    """Return the pipeline in "float32" or "bfloat16", silent, with the null class where it looks for it."""
    number_format = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    transformer = DiTTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=number_format)
    for block in transformer.transformer_blocks:
        move_null_class(block.norm1.emb.class_embedder)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=number_format)
    pipeline = DiTPipeline(transformer, vae, DDIMScheduler.from_pretrained(folder / "scheduler"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def load_in_worker() -> DiTPipeline:
    """Return the pipeline of a server's process, by what `benchmarks.driving` put into its environment."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return load(Path(os.environ["PEER_FOLDER"]), os.environ["PEER_DTYPE"])


def move_null_class(embedder: Any) -> None:
    """Pad a label table so that its last row, the null class, is row 1000 too."""
    table = embedder.embedding_table.weight.detach()  # (classes + 1, D)
    if len(table) <= NULL_CLASS:
        whole = torch.cat([table, table[-1:].expand(NULL_CLASS + 1 - len(table), -1)])
        embedder.embedding_table = torch.nn.Embedding.from_pretrained(whole)  # type: ignore[no-untyped-call]


def make_pngs(pipeline: DiTPipeline, asks: Sequence[Ask]) -> list[bytes]:
    """Return the PNGs of images that share steps and cfg, made in one call."""
    generators = [torch.Generator("cpu").manual_seed(ask.seed) for ask in asks]
    images = pipeline([ask.class_id for ask in asks], asks[0].cfg, generators, asks[0].steps).images
    buffers = [io.BytesIO() for _ in images]
    for image, buffer in zip(images, buffers, strict=True):
        image.save(buffer, format="PNG")
    return [buffer.getvalue() for buffer in buffers]


def create_app() -> FastAPI:
    """Return what most users write: FastAPI and a lock around the pipeline, loaded in this process.

    `benchmarks.driving` starts it: uvicorn --factory benchmarks.peers:create_app --port PORT --workers PROCESSES
    """
    pipeline, lock, app = load_in_worker(), threading.Lock(), FastAPI()

    @app.post("/generate")
    def generate(ask: Ask) -> Response:
        with lock:
            return Response(make_pngs(pipeline, [ask])[0], media_type="image/png")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app
