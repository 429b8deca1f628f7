"""dit-serve: class-conditional images from Diffusion Transformers, as a service and from Python.

    from dit_serve import load_pipeline
    pipeline = load_pipeline("digits-64")
    image = pipeline.generate([7], seeds=[0], steps=20)[0]

The one name that an installation adds to Python. Its three packages, `service`, `models` and `kernels`, are folders of
the repository's top level, and links here. What is named below is imported when it is first used: a process that needs
no tensors pays for no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dit_serve.models.pipeline import Pipeline as Pipeline
    from dit_serve.models.pipeline import SampleSpec as SampleSpec
    from dit_serve.models.pipeline import load_pipeline as load_pipeline

__all__ = ["Pipeline", "SampleSpec", "load_pipeline"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'dit_serve' has no attribute {name!r}")
    from dit_serve.threads import bound_waiting

    bound_waiting()
    from dit_serve.models import pipeline

    return getattr(pipeline, name)
