"""The protocols that the service is spoken to in, each known by its paths: this one's own, and those of clients that
people have already. All lead to one front; they differ in how a request is read, and how it is answered.

Knows paths alone.
"""

from __future__ import annotations

from enum import StrEnum

OPENAI_IMAGES = "/v1/images/generations"


class Protocol(StrEnum):
    """Who speaks so."""

    DIT = "dit"
    OPENAI = "openai"
    OPEN_INFERENCE = "open-inference"
    HUGGING_FACE = "hugging-face"


def protocol_of(path: str, method: str = "POST") -> Protocol:
    """The protocol of a path, whether there is anything at it or not.

    Args:
        path: without a prefix.
        method: only what is sent to / is Hugging Face's.
    """
    if path == "/v2" or path.startswith("/v2/"):
        return Protocol.OPEN_INFERENCE
    if path == OPENAI_IMAGES or path.startswith("/v1/models/"):
        return Protocol.OPENAI
    if path.startswith("/models/") or (path == "/" and method == "POST"):
        return Protocol.HUGGING_FACE
    return Protocol.DIT
