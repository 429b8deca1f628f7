"""Other names that requests may call models by, as the operator gives them (`DIT_MODEL_ALIASES`).

For tools whose users cannot choose the name that is sent. Everything that is told of a model has its own name. Knows no
request.
"""

from __future__ import annotations

from collections.abc import Mapping

from dit_serve.models.options import ModelInfo


def with_aliases(models: Mapping[str, ModelInfo], aliases: Mapping[str, str]) -> dict[str, ModelInfo]:
    """The models by their own names, in their order, then by their aliases; a model's own name comes first."""
    known = {alias: models[name] for alias, name in aliases.items() if name in models and alias not in models}
    return {**models, **known}


def wrong_alias(models: Mapping[str, ModelInfo], aliases: Mapping[str, str]) -> str:
    """What is wrong with an alias, in a sentence; empty if nothing is with any of them."""
    for alias, name in aliases.items():
        if name not in models:
            return f"DIT_MODEL_ALIASES has {alias}={name}, and loaded are {', '.join(models)}"
        if alias in models and alias != name:
            return f"DIT_MODEL_ALIASES has {alias}={name}, and a model of its own is called {alias}"
    return ""
