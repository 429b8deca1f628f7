"""The models: architecture, samplers, checkpoints, autoencoder, training. Knows no HTTP, no queue, no process.

    from models import load_pipeline
    pipeline = load_pipeline("digits-64")
    image = pipeline.generate([7], seeds=[0], steps=20)[0]

The import is lazy, so that a process which needs only the names of classes pays for no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.pipeline import Pipeline as Pipeline
    from models.pipeline import SampleSpec as SampleSpec
    from models.pipeline import load_pipeline as load_pipeline

__all__ = ["Pipeline", "SampleSpec", "load_pipeline"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'models' has no attribute {name!r}")
    from models import pipeline

    return getattr(pipeline, name)
