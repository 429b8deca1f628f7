"""models/scalars.py: numbers of any library become Python's own, and what is no number is refused in words."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from dit_serve.models.scalars import real, shown, whole

WHOLE = [
    7, np.int8(7), np.uint64(7), np.array(7), torch.tensor(7), torch.tensor(7, dtype=torch.uint8),
    7.0, np.float32(7), np.array(7.0), torch.tensor(7.0), torch.tensor(7, dtype=torch.bfloat16),
]
NOT_WHOLE = [
    True, np.True_, np.array(True), torch.tensor(True), 7.5, np.float32(7.5), torch.tensor(7.5), 2.0**53, "7", b"7",
    None, float("nan"), float("inf"), np.array([7]), torch.tensor([7]), [7], torch.tensor(7, device="meta"), 7j,
    object(),
]
REAL = [4, 4.0, np.float16(4), np.int64(4), np.array(4.0), torch.tensor(4.0), torch.tensor(4), Fraction(4), Decimal(4)]
NOT_REAL = [
    True, np.True_, torch.tensor(True), "4", b"4", None, [4.0], np.array([4.0]), torch.tensor([4.0]), 4j, 10**400,
    torch.tensor(4.0, device="meta"),
]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_a_whole_number_of_any_library_is_an_int(value: object) -> None:
    assert (type(whole(value)), whole(value)) == (int, 7)


@pytest.mark.parametrize("value", NOT_WHOLE, ids=lambda value: repr(value).partition(" at 0x")[0])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a valid integer"):
        whole(value)


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_a_number_of_any_library_is_a_float(value: object) -> None:
    assert (type(real(value)), real(value)) == (float, 4.0)


@pytest.mark.parametrize("value", NOT_REAL, ids=lambda value: repr(value)[:40])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a valid number"):
        real(value)


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


LONG_OR_WILD = [10**5000, 10**300, "x" * 9999, "\x1b[31m\n", Rude(), float("nan"), np.zeros(9)]


@pytest.mark.parametrize("value", LONG_OR_WILD, ids=lambda value: type(value).__name__)
def test_a_value_is_shown_on_one_short_printable_line(value: object) -> None:
    assert len(shown(value)) < 60
    assert shown(value).isprintable()


@pytest.mark.gpu
def test_a_number_on_a_card_is_a_number() -> None:
    assert whole(torch.tensor(7, device="cuda")) == 7
    assert real(torch.tensor(4.5, device="cuda")) == 4.5
