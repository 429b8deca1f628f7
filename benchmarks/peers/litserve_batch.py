"""LitServe with its own batching around diffusers' DiTPipeline.

    python -m benchmarks.peers.litserve_batch FOLDER PORT PROCESSES THREADS DTYPE BATCH

DiTPipeline takes one number of steps and one guidance scale a call, so `predict` makes a call for each pair that the
batch holds, as a user of LitServe would. LitServe reads the annotations of `decode_request` as objects, so this module
does without `from __future__ import annotations`.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import litserve
import torch
from fastapi import Response

from benchmarks.peers.dit_pipeline import Wanted, load, make_pngs

BATCH_TIMEOUT_SECONDS = 0.01  # of those that LitServe's documentation names, the kindest to latency


class DiTAPI(litserve.LitAPI):
    """One worker: a pipeline and its threads."""

    def __init__(self, folder: Path, threads: int, dtype: str, max_batch_size: int) -> None:
        timeout = BATCH_TIMEOUT_SECONDS if max_batch_size > 1 else 0.0
        super().__init__(max_batch_size=max_batch_size, batch_timeout=timeout, api_path="/generate")
        self.folder = folder
        self.threads = threads
        self.dtype = dtype

    def setup(self, device: str) -> None:
        """Loads the model into this worker."""
        torch.set_num_threads(self.threads)
        self.pipeline = load(self.folder, self.dtype)

    def decode_request(self, request: dict[str, Any], **kwargs: object) -> Wanted:
        """What one client asked for."""
        return Wanted(request["class_id"], request["seed"], request["steps"], request["cfg"])

    def predict(self, x: list[Wanted], **kwargs: object) -> list[bytes]:
        """The PNGs of a batch in its order."""
        places = defaultdict(list)
        for place, wanted in enumerate(x):
            places[wanted.steps, wanted.cfg].append(place)
        pngs = [b""] * len(x)
        for group in places.values():
            for place, png in zip(group, make_pngs(self.pipeline, [x[place] for place in group]), strict=True):
                pngs[place] = png
        return pngs

    def encode_response(self, output: bytes, **kwargs: object) -> Response:
        """One image."""
        return Response(output, media_type="image/png")


def main() -> None:
    """Serves until killed."""
    folder, port, processes, threads, dtype, batch = sys.argv[1:]
    server = litserve.LitServer(
        DiTAPI(Path(folder), int(threads), dtype, int(batch)),
        accelerator="cpu", devices=1, workers_per_device=int(processes), timeout=False,
    )  # fmt: skip
    server.run(host="127.0.0.1", port=int(port), log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
