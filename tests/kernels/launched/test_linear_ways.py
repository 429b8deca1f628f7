"""Every way to a product against the definition in float64, and what a family promises of its bits."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.launch import is_interpreted
from dit_serve.kernels.linear import EPILOGUES, linear_reference
from dit_serve.kernels.linear_ways import BLAS, WHOLE, Way
from tests.kernels.launched.test_linear import in_eighths, make_arguments

SHAPES = [(2, 65, 192, 136), (3, 1, 1152, 200), (1, 257, 64, 24)]  # N, T, K, O


def product(way: Way, arguments: dict[str, torch.Tensor], epilogue: str) -> torch.Tensor:
    return way.product(arguments["x"], arguments["weight"], arguments["bias"], epilogue)


def skip_unless_taken(way: Way, x: torch.Tensor, weight: torch.Tensor, epilogue: str) -> None:
    """Leave out what the card cannot do; the interpreter can do all."""
    if not is_interpreted() and not way.takes(x, weight, epilogue):
        pytest.skip(f"the way {way.name!r} is not taken on this card")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("way", WHOLE + BLAS, ids=lambda way: way.name)
def test_equals_the_definition(
    way: Way, epilogue: str, shape: tuple[int, int, int, int], device: torch.device
) -> None:
    if is_interpreted() and way in BLAS and epilogue == "gelu_tanh":
        pytest.skip("torch's fused activation is another GELU on the CPU")
    arguments = make_arguments(shape, epilogue, torch.bfloat16, device)
    skip_unless_taken(way, arguments["x"], arguments["weight"], epilogue)
    wide = (arguments[name].double() for name in ("x", "weight", "bias"))
    got = product(way, arguments, epilogue)
    assert got.dtype == torch.bfloat16
    # bfloat16: the interpreter cuts where a card rounds; a float32 sum errs by its terms
    torch.testing.assert_close(got.double(), linear_reference(*wide, epilogue), rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_the_ways_to_a_whole_sum_give_the_same_bits_whatever_the_rows(epilogue: str, device: torch.device) -> None:
    arguments = make_arguments((3, 47, 192, 136), epilogue, torch.bfloat16, device)
    if is_interpreted():  # whose BLAS may sum a tile's edge in another order
        arguments = in_eighths(arguments)
    together = product(WHOLE[0], arguments, epilogue)
    tried = 0
    for way in WHOLE:
        if not is_interpreted() and not way.takes(arguments["x"], arguments["weight"], epilogue):
            continue
        tried += 1
        for rows in (slice(0, 3), slice(2, 3)):
            alone = arguments | {"x": arguments["x"][rows]}
            assert torch.equal(product(way, alone, epilogue), together[rows]), way.name
    assert tried >= 4
