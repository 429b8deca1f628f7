"""How a DiT's linear layers are multiplied: as the library likes, batch-invariant, or in float8.

On a card there are several ways to each of them; the fastest is found once, at warm-up (models/trial.py). Knows no
samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from dit_serve.kernels.gelu_float8 import gelu_float8
from dit_serve.kernels.linear import linear
from dit_serve.kernels.linear_float8 import linear_float8
from dit_serve.kernels.linear_ways import Way
from dit_serve.models.float8 import Float8Linear, Layer
from dit_serve.models.trial import Kind, Trial, kind_of

TOKEN_ROWS = 16  # rows of every product come in multiples; with fewer, a processor's arithmetic depends on how many
Activations: TypeAlias = torch.Tensor | tuple[torch.Tensor, torch.Tensor]  # or float8 values and a scale a row


class Products:
    """Multiplies the linear layers of one DiT.

    Attributes:
        batch_invariant: whether a row's numbers may not depend on how many rows there are.
    """

    def __init__(self) -> None:
        self.batch_invariant = False
        self._chosen: dict[Kind, dict[int, Way]] = {}

    @property
    def chosen(self) -> dict[str, dict[int, str]]:
        """The name of the way that was chosen, by layer ("1152 → 3456, none, bfloat16") and number of rows."""
        return {
            f"{size} → {out}, {epilogue}, {str(dtype).removeprefix('torch.')}": {
                rows: way.name for rows, way in ways.items()
            }
            for (out, size, epilogue, dtype), ways in self._chosen.items()
        }

    def __call__(self, layer: Layer, x: Activations, residual: torch.Tensor | None = None) -> torch.Tensor:
        """Return x Wᵀ + b + residual, (N, T, O).

        Args:
            layer: an nn.Linear, or a Float8Linear.
            x: (N, T, K); of a Float8Linear its float8 values, and (N, T) scales.
            residual: (T, O) that is added to every sequence, of an nn.Linear alone.
        """
        if isinstance(layer, Float8Linear):
            return self._float8(layer, x)
        return self._wide(layer, x, "none", residual)

    def gelu(self, layer: Layer, x: Activations) -> Activations:
        """Return GELU(x Wᵀ + b), (N, T, O); of a Float8Linear as float8 values and (N, T) scales."""
        if isinstance(layer, Float8Linear):
            return gelu_float8(self._float8(layer, x))
        return self._wide(layer, x, "gelu_tanh")

    def choose(
        self,
        layers: Sequence[tuple[Layer, str]],
        tokens: int,
        batches: Sequence[int],
        milliseconds: Callable[[Callable[[], object]], float],
    ) -> tuple[int, ...]:
        """Find the ways of these layers on the device that they are on; a layer without a choice takes `linear`.

        Return the numbers of sequences that a choice was made for: without the largest ones where memory is too small
        to try them. Other numbers might give a row other bits.

        Args:
            layers: one of each kind, with its epilogue.
            tokens: T of every sequence.
            batches: the numbers of sequences, in ascending order.
            milliseconds: how long a piece of work takes on the device.

        Raises:
            torch.OutOfMemoryError: there is no memory to try one sequence.
        """
        log, tried = logging.getLogger("dit.models"), list(batches)
        for layer, epilogue in layers:
            kind = kind_of(layer.weight, "none" if isinstance(layer, Float8Linear) else epilogue)
            ways: dict[int, Way] | None = None
            while ways is None:
                try:
                    ways = self._chosen[kind] = Trial(layer, kind[2], tried, tokens).choose(
                        self.batch_invariant, milliseconds
                    )
                except torch.OutOfMemoryError:
                    if len(tried) == 1:
                        raise
                    log.warning("no memory to try the linear layer %s with %d sequences", kind, tried.pop())
        log.info("linear layers: %s", self.chosen)
        return tuple(tried)

    def _wide(
        self, layer: nn.Linear, x: Activations, epilogue: str, residual: torch.Tensor | None = None
    ) -> torch.Tensor:
        assert isinstance(x, torch.Tensor)
        way = self._way(layer.weight, x, epilogue) if residual is None else None
        if way is not None:
            return way.product(x, layer.weight, layer.bias, epilogue)
        if residual is None and (lacking := self._lacking(x)):  # of in-context blocks, whose sequences have two more
            filled = F.pad(x.flatten(0, 1), (0, 0, 0, lacking))[None]                         # (1, N·T + lacking, K)
            y = linear(filled, layer.weight, layer.bias, epilogue, batch_invariant=True)
            return y[0, :-lacking].view(*x.shape[:2], -1)
        return linear(
            x, layer.weight, layer.bias, epilogue, batch_invariant=self.batch_invariant, residual=residual
        )

    def _lacking(self, x: torch.Tensor) -> int:
        """Return how many rows x (N, T, K) lacks of a number with which a processor gives a row the same bits."""
        return -(x.shape[0] * x.shape[1]) % TOKEN_ROWS if self.batch_invariant and not x.is_cuda else 0

    def _float8(self, layer: Float8Linear, x: Activations) -> torch.Tensor:
        assert isinstance(x, tuple)
        way = self._way(layer.weight, x[0], "none")
        product = linear_float8 if way is None else way.product
        return product(*x, layer.weight, layer.weight_scales, layer.bias)

    def _way(self, weight: torch.Tensor, x: torch.Tensor, epilogue: str) -> Way | None:
        """Return what was chosen for so many rows, None where nothing was."""
        if not self._chosen or torch.compiler.is_compiling():  # a trace keeps the number of rows free
            return None
        ways = self._chosen.get(kind_of(weight, epilogue))
        return ways.get(x.shape[0] * x.shape[1]) if ways else None
