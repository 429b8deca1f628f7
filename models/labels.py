"""The names of a model's classes: find them, look one up, know ImageNet's.

A class has several names ("tench", "Tinca tinca"), or none. Needs the standard library alone, so a process without
torch can offer names to people.

References: the 1000 classes of ILSVRC 2012, "ImageNet Large Scale Visual Recognition Challenge" (arXiv 1409.0575);
where the bundled names come from stands in imagenet_labels.json.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

Names = tuple[tuple[str, ...], ...]  # names by class id; () where a class has none
MOST_NAMES, LONGEST_NAME = 64, 256  # of one class; ImageNet's has at most nine, and 121 characters in all of them
_WORDNET_ID = re.compile(r"n\d{8}")  # that ImageNet's lists put before a class's names


@dataclass(frozen=True, slots=True)
class Labels:
    """Names by class id; how many classes there are is the length of `names`."""

    names: Names

    def search(self, query: str) -> list[tuple[int, str]]:
        """Return (class_id, name) of the classes with a name that has every word of `query`, best first.

        Words match anywhere in a name, whatever their case. A name that is the query comes first, then names that
        begin with it, then the others; equals in order of class id. Each class comes once, under its best name. An
        empty query finds all.
        """
        wanted = _folded(query)
        best: dict[int, tuple[int, int, str]] = {}
        for class_id, name in self._pairs():
            rank = _rank(_folded(name), wanted)
            if rank is not None and (class_id not in best or rank < best[class_id][0]):
                best[class_id] = (rank, class_id, name)
        return [(class_id, name) for _, class_id, name in sorted(best.values())]

    def lookup(self, name: str) -> int:
        """Return the class id that `name` means: one of its names, whatever the case, or the id itself in digits.

        Raises:
            ValueError: no class is called so, or several are; the message lists candidates.
        """
        wanted = _folded(name)
        if wanted.isascii() and wanted.isdigit():
            return self._by_number(wanted)
        exact = self.called(name)
        if len(exact) == 1:
            return exact[0]
        if exact:
            raise ValueError(f"{name!r} names several classes: {self.listed(exact)}; give one by its id")
        near = self._near(wanted)
        hint = f"; near: {self.listed(near)}" if near else ""
        raise ValueError(f"no class is called {name!r}{hint}")

    def called(self, name: str) -> tuple[int, ...]:
        """Return the ids of the classes with exactly this name, whatever the case."""
        return _index(self.names).folded.get(_folded(name), ())

    def within(self, text: str) -> list[int]:
        """Return the ids of the classes whose name, the longest of all that stand in a text as whole words, it has.

        Several where several classes are called so, or where two names of one length stand in it.
        """
        words, index = _words(text).split(), _index(self.names)
        phrases = {
            " ".join(words[start : start + count])
            for start in range(len(words))
            for count in range(1, min(index.most_words, len(words) - start) + 1)
        }
        found = {phrase: index.in_words[phrase] for phrase in phrases if phrase in index.in_words}
        longest = max(map(len, found), default=0)
        return sorted({class_id for name, ids in found.items() if len(name) == longest for class_id in ids})

    def listed(self, class_ids: Iterable[int]) -> str:
        """Return the classes in words: "7 (cock), 8 (hen)"."""
        return ", ".join(f"{class_id} ({self.names[class_id][0]})" for class_id in class_ids)

    def _by_number(self, digits: str) -> int:
        significant = digits.lstrip("0") or "0"
        if len(significant) > len(str(len(self.names))) or int(significant) >= len(self.names):
            raise ValueError(f"class ids go from 0 to {len(self.names) - 1}, got {digits[:40]}")
        return int(significant)

    def _near(self, wanted: str) -> list[int]:
        """Class ids whose names hold the wanted words, else those spelled alike; at most eight."""
        if not wanted:
            return []
        found = [class_id for class_id, _ in self.search(wanted)]
        if found:
            return found[:8]
        spelled: dict[str, list[int]] = {}
        for class_id, name in self._pairs():
            spelled.setdefault(_folded(name), []).append(class_id)
        close = difflib.get_close_matches(wanted[:80], spelled, n=8)
        return list(dict.fromkeys(class_id for name in close for class_id in spelled[name]))[:8]

    def _pairs(self) -> Iterator[tuple[int, str]]:
        return ((class_id, name) for class_id, names in enumerate(self.names) for name in names)


@dataclass(frozen=True, slots=True)
class _Index:
    """The class ids of each name: as it is but for the case, and of its words alone; and the most words of a name."""

    folded: Mapping[str, tuple[int, ...]]
    in_words: Mapping[str, tuple[int, ...]]
    most_words: int


@lru_cache(maxsize=16)  # of as many models; each prompt is looked up in one
def _index(names: Names) -> _Index:
    folded, in_words = dict[str, tuple[int, ...]](), dict[str, tuple[int, ...]]()
    for class_id, row in enumerate(names):
        for key in dict.fromkeys(map(_folded, row)):
            folded[key] = (*folded.get(key, ()), class_id)
        for key in dict.fromkeys(map(_words, row)):
            in_words[key] = (*in_words.get(key, ()), class_id)
    in_words.pop("", None)
    return _Index(folded, in_words, max((key.count(" ") + 1 for key in in_words), default=0))


def names_of(id2label: object, num_classes: int) -> Names:
    """Return the names of `num_classes` classes, given in one of the usual forms.

        {"0": "tench, Tinca tinca"}, {0: "tench"}    as diffusers and transformers write them
        {"0": ["n01440764", "tench"]}                as Keras does; the WordNet id is no name, where there is another
        {"tench": 0, "Tinca tinca": 0}               the other way round
        ["tench", ["goldfish", "Carassius auratus"]] in order of class id

    A comma parts names. A class that is not mentioned has none.

    Raises:
        ValueError: it is in none of these forms, an entry is no class id of this model or no name, or a class has more
            names or longer ones than can be meant, or one that is no text.
    """
    if isinstance(id2label, Mapping):
        entries = [*id2label.items()]
        if entries and all(type(value) is int and not _is_number(key) for key, value in entries):
            entries = [(value, name) for name, value in entries]
        elif len({str(key) for key in id2label}) < len(id2label):
            raise ValueError("id2label has a class twice, as a number and as text")
    elif isinstance(id2label, (list, tuple)):
        entries = [*enumerate(id2label)]
    else:
        raise ValueError(f"id2label must be an object of class ids and names, or a list, got {_cut(id2label)}")
    names: list[tuple[str, ...]] = [()] * num_classes
    for key, value in entries:
        class_id, row = _class_id(key, num_classes), [value] if isinstance(value, str) else value
        is_row = isinstance(row, (list, tuple)) and all(isinstance(part, str) for part in row)
        if class_id is None or not is_row:
            raise ValueError(
                f"id2label has {_cut(key)}: {_cut(value)}, and needs class ids from 0 to {num_classes - 1} with text"
            )
        parts = [part for text in row[: MOST_NAMES + 1] for part in split_names(text, MOST_NAMES + 1)]
        names[class_id] = _checked(key, (*names[class_id], *parts))
    return tuple(_without_wordnet_id(row) for row in names)


def imagenet_names() -> Names:
    """Return the names of ImageNet's 1000 classes, which the published DiT checkpoints were trained on."""
    rows = json.loads(files("dit_serve.models").joinpath("imagenet_labels.json").read_text(encoding="utf-8"))["names"]
    return tuple(split_names(row) for row in rows)


def split_names(row: str, most: int = -1) -> tuple[str, ...]:
    """Return the names in a comma-separated row, as diffusers' id2label writes them: "tench, Tinca tinca".

    Spaces and line ends within a name are one space each.

    Args:
        most: after so many commas the rest is taken as one name; -1 for any number.
    """
    return tuple(name for part in row.split(",", most) if (name := " ".join(part.split())))


def _checked(key: object, names: tuple[str, ...]) -> tuple[str, ...]:
    """A class's names, if they are so many and so long as names are, and text.

    Raises:
        ValueError: they are not.
    """
    if len(names) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in names):
        raise ValueError(
            f"id2label has more text for {_cut(key)} than {MOST_NAMES} names of up to {LONGEST_NAME} characters"
        )
    for name in names:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise ValueError(f"id2label has {_cut(key)}: {_cut(name)}, and control characters are no part of a name")
    return names


def _class_id(key: object, num_classes: int) -> int | None:
    """The class that a key means, None if none of this model."""
    number = int(key) if isinstance(key, str) and _is_number(key) and len(key) < 8 else key
    return number if type(number) is int and 0 <= number < num_classes else None


def _is_number(key: object) -> bool:
    return type(key) is int or (isinstance(key, str) and key.isascii() and key.isdigit())


def _without_wordnet_id(row: tuple[str, ...]) -> tuple[str, ...]:
    """The different names of a class; a WordNet id only where there is no other name."""
    names = []
    for name in dict.fromkeys(row):
        first, _, rest = name.partition(" ")  # "n01440764 tench", as ImageNet's own list has it
        names.append(rest.strip() if rest.strip() and _WORDNET_ID.fullmatch(first) else name)
    return tuple(name for name in names if not _WORDNET_ID.fullmatch(name)) or tuple(names)


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _words(text: str) -> str:
    """The letters and digits of a text in words, with one space between them, and nothing else."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _rank(name: str, wanted: str) -> int | None:
    """0 for the same text, 1 for a prefix, 2 where all words are inside, None where one is not."""
    if name == wanted:
        return 0
    if name.startswith(wanted):
        return 1
    return 2 if all(word in name for word in wanted.split()) else None
