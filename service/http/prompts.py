"""Which class a text means, where a protocol of text-to-image models has a prompt in the place of a class.

A class-conditional model has no other words than its classes' names. So a prompt is a class's name or number; or, if
the operator allows it (`DIT_PROMPTS=phrase`), text around one name, of which the longest counts. What was understood
is told with the image. Knows no protocol.
"""

from __future__ import annotations

import re

from dit_serve.models.labels import Labels
from dit_serve.models.options import ModelInfo
from dit_serve.service.errors import FieldError

MOST_CHARACTERS = 1000  # of a prompt; OpenAI's longest are 32,000, and no class's name has more than 256
_NUMBERED = re.compile(r"\s*(?:class\s*)?#?\s*([0-9]+)\s*", re.IGNORECASE | re.ASCII)


def class_of_prompt(prompt: str, model: ModelInfo, *, by_phrase: bool) -> int:
    """The class that a prompt means.

    Args:
        prompt: "207", "class 207", "golden retriever", or with `by_phrase` "a photo of a golden retriever".
        model: whose classes.
        by_phrase: whether a name may stand within other text.

    Raises:
        ValueError: it means none, or several; the message lists candidates, and does not repeat the prompt.
    """
    labels = Labels(model.labels)
    if (name := _exact(prompt, labels)) is not None:
        return name
    if numbered := _NUMBERED.fullmatch(prompt):
        return _by_number(numbered[1], model)
    if not any(model.labels):
        raise ValueError(f"the classes of {model.name} have no names: give a class by its id, such as 7 or class 7")
    if by_phrase and (found := labels.within(prompt)):
        if len(found) == 1:
            return found[0]
        raise ValueError(f"names several classes: {labels.listed(found)}; give one by its id, such as class {found[0]}")
    try:
        return labels.lookup(prompt)
    except ValueError as error:
        raise ValueError(str(error).replace(repr(prompt), "this")) from None


def class_or_fault(field: str, prompt: str, model: ModelInfo, *, by_phrase: bool) -> int | FieldError:
    """The same, or the fault of the field that the prompt came in."""
    try:
        return class_of_prompt(prompt, model, by_phrase=by_phrase)
    except ValueError as error:
        return FieldError(field, str(error))


def described_class(model: ModelInfo, class_id: int) -> str:
    """What is drawn, in words: "class 207: golden retriever"."""
    name = model.class_name(class_id)
    return f"class {class_id}: {name}" if name else f"class {class_id}"


def _exact(prompt: str, labels: Labels) -> int | None:
    """The one class that is called so; it may be called by a number, or "class 7"."""
    found = labels.called(prompt)
    return found[0] if len(found) == 1 else None


def _by_number(digits: str, model: ModelInfo) -> int:
    significant = digits.lstrip("0") or "0"
    if len(significant) > len(str(model.num_classes)) or int(significant) >= model.num_classes:
        raise ValueError(f"class ids go from 0 to {model.num_classes - 1}")
    return int(significant)
