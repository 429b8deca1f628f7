"""A linear layer tried on its device in every way there is, to find the fastest one whose bits may be given.

There are several ways to compute the same product (kernels/linear_ways.py), and none is the fastest for every layer and
number of rows. Which *bits* a layer has is decided by the order of the families in `ORDER` and by no measurement, so
that two processes on two cards of one kind agree: the first family whose result is right, and which some way reproduces
for every number of rows and at every place, is taken. Among the ways that give exactly those bits, of whatever family,
the fastest one is taken for each number of rows.

The library's product goes first. On an H200, with torch 2.11, it was the fastest for nearly every layer and number of
rows of DiT-XL/2 (of 16384 rows by 12 to 24 % in bfloat16 and 19 to 26 % in float8), and left no workspace to split K it
gave a row the same bits for every number of rows. A card, or a build of the library, where the trial finds otherwise
takes our own sum, whose order no number of rows changes. Knows no network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch

from dit_serve.kernels.float8 import quantise_reference
from dit_serve.kernels.linear import linear_reference
from dit_serve.kernels.linear_float8 import linear_float8_reference
from dit_serve.kernels.linear_ways import BLAS, FLOAT8_BLAS, FLOAT8_WHOLE, WHOLE, Way
from dit_serve.models.device import plain_arithmetic
from dit_serve.models.errors import is_device_lost
from dit_serve.models.float8 import Float8Linear, Layer

Kind: TypeAlias = tuple[int, int, str, torch.dtype]  # O, K, epilogue, number format: layers of one kind share a choice
ORDER = (BLAS, WHOLE)  # whose bits are given, if they may be
FLOAT8_ORDER = (FLOAT8_BLAS, FLOAT8_WHOLE)
WRONG = 0.02  # |y - definition| / |definition| that no rounding of 16-bit results explains


class Trial:
    """One layer on random rows, tried in every way.

    Args:
        layer: whose weight and bias are used.
        epilogue: of its products; "none" of a Float8Linear.
        batches: the numbers of sequences to try, in ascending order.
        tokens: of a sequence.
    """

    def __init__(self, layer: Layer, epilogue: str, batches: Sequence[int], tokens: int) -> None:
        self._layer, self._epilogue, self._batches, self._tokens = layer, epilogue, batches, tokens
        self.kind = kind_of(layer.weight, epilogue)
        bias = layer.bias
        generator = torch.Generator(bias.device).manual_seed(0)  # in every process the same bits
        shape = (batches[-1], tokens, self.kind[1])
        x = torch.randn(shape, generator=generator, device=bias.device, dtype=bias.dtype)
        self._is_float8 = isinstance(layer, Float8Linear)
        self._x = quantise_reference(x) if self._is_float8 else (x,)
        self._order = FLOAT8_ORDER if self._is_float8 else ORDER

    def choose(self, is_invariant: bool, milliseconds: Callable[[Callable[[], object]], float]) -> dict[int, Way]:
        """Return the fastest way by number of rows among those whose bits may be given; none if no family's may."""
        with plain_arithmetic(self._layer.weight.device):
            ways = self._working()
            able = self._of_one_family(ways) if is_invariant else self._right(ways)
            return {
                batch * self._tokens: min(fit, key=lambda way: milliseconds(partial(self._run, way, 0, batch)))
                for batch, fit in able.items()
            }

    def _of_one_family(self, ways: list[Way]) -> dict[int, list[Way]]:
        """Return by number of sequences the ways that give the bits of the first family that has any for all."""
        for family in self._order:
            base = next((way for way in family if way in ways), None)
            if base is None or not self._is_right(base, self._batches[0]):
                continue
            expected = self._run(base, 0, self._batches[-1])
            able = {batch: [way for way in ways if self._gives(way, batch, expected)] for batch in self._batches}
            if all(able.values()):
                return able
        if not ways:
            return {}
        words = "no way of computing %s gives a row the same bits in every batch"
        logging.getLogger("dit.models").warning(words, self.kind)
        return {}

    def _right(self, ways: list[Way]) -> dict[int, list[Way]]:
        """Return by number of sequences the ways whose results are right."""
        found = {batch: [way for way in ways if self._is_right(way, batch)] for batch in self._batches}
        return {batch: right for batch, right in found.items() if right}

    def _working(self) -> list[Way]:
        """Return all ways that take these tensors here and do not fail."""
        x, weight = self._x[0], self._layer.weight
        ways = [way for family in self._order for way in family if way.takes(x, weight, self._epilogue)]
        return [way for way in ways if self._works(way)]

    def _works(self, way: Way) -> bool:
        try:
            for batch in self._batches:
                self._run(way, 0, batch)
        except RuntimeError as error:
            if is_device_lost(error) or isinstance(error, torch.OutOfMemoryError):
                raise
            logging.getLogger("dit.models").warning("%s cannot be computed by %s: %s", self.kind, way.name, error)
            return False
        return True

    def _gives(self, way: Way, batch: int, expected: torch.Tensor) -> bool:
        """Return whether a batch has the bits of the same rows in the largest one, at its start, middle and end."""
        last = self._batches[-1] - batch
        return all(
            torch.equal(self._run(way, first, batch), expected[first : first + batch])
            for first in sorted({0, last // 2, last})
        )

    def _is_right(self, way: Way, batch: int) -> bool:
        """Return whether a batch is what the definition makes of it, but for rounding."""
        definition = linear_float8_reference if self._is_float8 else linear_reference
        exact = definition(*self._operands(0, batch)).float()
        error = (self._run(way, 0, batch).float() - exact).norm() / exact.norm()
        return bool(error <= WRONG)  # never of NaN

    def _run(self, way: Way, first: int, sequences: int) -> torch.Tensor:
        """Return what a way makes of so many sequences from `first` on."""
        return way.product(*self._operands(first, sequences))

    def _operands(self, first: int, sequences: int) -> tuple[Any, ...]:
        x = tuple(each[first : first + sequences] for each in self._x)
        if isinstance(self._layer, Float8Linear):
            return *x, self._layer.weight, self._layer.weight_scales, self._layer.bias
        return *x, self._layer.weight, self._layer.bias, self._epilogue


def kind_of(weight: torch.Tensor, epilogue: str) -> Kind:
    """Return what decides a layer's ways, beside the number of rows."""
    out, size = weight.shape
    return out, size, epilogue, weight.dtype
