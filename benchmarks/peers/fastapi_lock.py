"""What users write today: FastAPI, diffusers' DiTPipeline, and a lock around it.

    python -m benchmarks.peers.fastapi_lock FOLDER PORT PROCESSES THREADS DTYPE
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from benchmarks.peers.dit_pipeline import Wanted, load, make_pngs

FOLDER, THREADS, DTYPE = "PEER_FOLDER", "PEER_THREADS", "PEER_DTYPE"


class GenerateRequest(BaseModel):
    """The body that our service takes, too."""

    class_id: int
    cfg: float = 4.0
    steps: int = 50
    seed: int = 0


def create_app() -> FastAPI:
    """The application of one process, its model loaded."""
    torch.set_num_threads(int(os.environ[THREADS]))
    pipeline = load(Path(os.environ[FOLDER]), os.environ[DTYPE])
    lock = threading.Lock()
    app = FastAPI()

    @app.post("/generate")
    def generate(request: GenerateRequest) -> Response:
        with lock:
            (png,) = make_pngs(pipeline, [Wanted(request.class_id, request.seed, request.steps, request.cfg)])
        return Response(png, media_type="image/png")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    """Serves until killed."""
    folder, port, processes, threads, dtype = sys.argv[1:]
    os.environ.update({FOLDER: folder, THREADS: threads, DTYPE: dtype})
    uvicorn.run(
        "benchmarks.peers.fastapi_lock:create_app", factory=True, port=int(port), workers=int(processes),
        log_level="warning", access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
