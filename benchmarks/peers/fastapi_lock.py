"""FastAPI, diffusers' DiTPipeline, and a lock around it.

    uvicorn --factory benchmarks.peers.fastapi_lock:create_app --port PORT --workers PROCESSES

`benchmarks.contenders` starts it so, the model named in the environment.
"""

import threading

from fastapi import FastAPI, Response

from benchmarks.load import Ask
from benchmarks.peers import load_in_worker, make_pngs


def create_app() -> FastAPI:
    """Return the application of one process, its model loaded."""
    pipeline, lock, app = load_in_worker(), threading.Lock(), FastAPI()

    @app.post("/generate")
    def generate(ask: Ask) -> Response:
        with lock:
            (png,) = make_pngs(pipeline, [ask])
        return Response(png, media_type="image/png")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app
