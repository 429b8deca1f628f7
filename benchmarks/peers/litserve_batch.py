"""LitServe with its own batching around diffusers' DiTPipeline.

    python -m benchmarks.peers.litserve_batch PORT PROCESSES BATCH

`benchmarks.driving` starts it so, the model named in the environment. DiTPipeline takes one number of steps and one
guidance scale a call, so `predict` makes a call for each pair that the batch holds, as a user of LitServe would.
LitServe reads the annotations of `decode_request` as objects: no `from __future__ import annotations` here.
"""

import sys
from collections import defaultdict
from typing import Any

import litserve
from fastapi import Response

from benchmarks.load import Ask
from benchmarks.peers import load_in_worker, make_pngs

BATCH_TIMEOUT_SECONDS = 0.01  # of those that LitServe's documentation names, the kindest to latency


class DiTAPI(litserve.LitAPI):
    """One worker: a pipeline and its threads."""

    def setup(self, device: str) -> None:
        self.pipeline = load_in_worker()

    def decode_request(self, request: dict[str, Any], **kwargs: object) -> Ask:
        return Ask(**request)

    def predict(self, x: list[Ask], **kwargs: object) -> list[bytes]:
        """Return the PNGs of a batch in its order."""
        places = defaultdict(list)
        for place, ask in enumerate(x):
            places[ask.steps, ask.cfg].append(place)
        pngs = [b""] * len(x)
        for group in places.values():
            for place, png in zip(group, make_pngs(self.pipeline, [x[place] for place in group]), strict=True):
                pngs[place] = png
        return pngs

    def encode_response(self, output: bytes, **kwargs: object) -> Response:
        return Response(output, media_type="image/png")


def main() -> None:
    port, processes, batch = map(int, sys.argv[1:])
    api = DiTAPI(max_batch_size=batch, batch_timeout=BATCH_TIMEOUT_SECONDS, api_path="/generate")
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=processes, timeout=False)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
