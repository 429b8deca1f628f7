"""What an image may be asked to be, in one place for HTTP, the command line and Python: the bounds, and the sentences.

The HTTP form has its bounds from here and checks them itself, in the same words. Needs the standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from dit_serve.models.labels import Labels
from dit_serve.models.options import ModelInfo, SampleSpec, guidance_fault
from dit_serve.models.scalars import shown

MAX_SEED = 2**63 - 1
LEAST_GUIDANCE, MOST_GUIDANCE = 1, 20
_LONGEST = 300  # characters of a refusal


def model_faults(model: ModelInfo, class_id: int | None, steps: int, sampler: str | None) -> Iterator[tuple[str, str]]:
    """What a model cannot do of what is asked: (field, what is wrong with it); None was not asked."""
    if class_id is not None and not 0 <= class_id < model.num_classes:
        yield "class_id", f"is {shown(class_id)}; {model.name} has classes 0 to {model.num_classes - 1}"
    if not 1 <= steps <= model.max_steps:
        yield "steps", f"is {shown(steps)}; {model.name} takes 1 to {model.max_steps}"
    if sampler is not None and sampler not in model.samplers:
        yield "sampler", f"must be one of {', '.join(model.samplers)}"


def class_called(model: ModelInfo, name: str) -> int:
    """The class that a model calls so.

    Raises:
        ValueError: none, or several; the message says what there is.
    """
    if not model.labels:
        raise ValueError(f"the classes of {model.name} have no names: give class_id")
    return Labels(model.labels).lookup(name)


def spec_faults(model: ModelInfo, spec: SampleSpec) -> Iterator[str]:
    """All that is wrong with an image that this model is asked for, one phrase each."""
    for field, text in model_faults(model, spec.class_id, spec.steps, spec.sampler):
        yield f"{field} {text}" + (f", got {shown(spec.sampler)}" if field == "sampler" else "")
    yield from _bound_faults("seed", spec.seed, 0, MAX_SEED)
    yield from _bound_faults("guidance_scale", spec.guidance_scale, LEAST_GUIDANCE, MOST_GUIDANCE)
    if fault := guidance_fault(model, spec.guidance_scale):
        yield f"guidance_scale {fault}"


def check_spec(model: ModelInfo, spec: SampleSpec) -> None:
    """Refuse an image that this model cannot make.

    Raises:
        ValueError: tells all that is wrong with it.
    """
    _refuse(spec_faults(model, spec))


def read_specs(model: ModelInfo, class_ids: object, seeds: object, *wishes: Any) -> list[SampleSpec]:
    """The images that a caller asks for, one a class.

    Args:
        model: which is asked.
        class_ids: ids or names of classes, of whatever type; one alone is one image.
        seeds: one an image.
        wishes: steps, guidance scale and sampler, the same for all.

    Raises:
        ValueError: tells all that is wrong with them, whatever image it is of.
    """
    classes, each_seed = _listed(class_ids), _listed(seeds)
    if len(classes) != len(each_seed):
        raise ValueError(f"seeds must be one an image: {len(classes)} class ids, {len(each_seed)} seeds")
    specs, faults = list[SampleSpec](), list[str]()
    for wanted, seed in zip(classes, each_seed, strict=True):
        try:
            class_id = class_called(model, str(wanted)) if isinstance(wanted, str) else wanted
        except ValueError as error:
            faults.append(str(error))
            class_id = 0
        try:
            specs.append(SampleSpec(class_id, seed, *wishes))
        except ValueError as error:
            faults.append(str(error))
        else:
            faults += spec_faults(model, specs[-1])
    _refuse(faults)
    return specs


def _listed(values: Any) -> list[Any]:
    """Several values as a list; one alone as a list of it: text, a number, an array or a tensor of no dimension."""
    if isinstance(values, str | bytes) or getattr(values, "ndim", 1) == 0:
        return [values]
    try:
        return list(values)
    except TypeError:
        return [values]


def _bound_faults(field: str, value: float, least: int, most: int) -> Iterator[str]:
    if not math.isfinite(value):
        yield f"{field} is {shown(value)}; must be a finite number"
    elif value < least:
        yield f"{field} is {shown(value)}; must be greater than or equal to {least}"
    elif value > most:
        yield f"{field} is {shown(value)}; must be less than or equal to {most}"


def _refuse(faults: Iterable[str]) -> None:
    """Raise all faults as one sentence, each once, cut where it would grow long."""
    text = "; ".join(dict.fromkeys(faults))
    if text:
        raise ValueError(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")
