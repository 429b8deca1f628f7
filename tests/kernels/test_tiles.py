"""Which tile a product takes: by the number of rows and outputs, as large as fills a card."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.tiles import DEFAULTS, PROGRAMS, TILES, named_tile, tile_for


@pytest.mark.parametrize("dtype", list(TILES))
@pytest.mark.parametrize("out", [1, 1152, 3456, 4608])
def test_a_tile_never_shrinks_with_more_rows_and_fills_the_card_if_any_does(dtype: torch.dtype, out: int) -> None:
    before = 0
    for rows in (1, 16, 512, 1024, 4096, 16384, 65536):
        tile = TILES[dtype][tile_for(dtype, rows, out)]
        assert tile.m * tile.n >= before
        before = tile.m * tile.n
        least = TILES[dtype][DEFAULTS[dtype][-1]]
        is_enough = -(-rows // tile.m) * -(-out // tile.n) >= PROGRAMS
        assert is_enough or tile == least


def test_few_rows_take_the_smallest_tile_and_many_the_largest_of_the_defaults() -> None:
    assert tile_for(torch.bfloat16, 16, 1152) == "64x64"
    assert tile_for(torch.bfloat16, 512, 4608) == "64x128"
    assert tile_for(torch.bfloat16, 16384, 1152) == "128x128"
    assert tile_for(torch.float8_e4m3fn, 512, 1152) == "64x64"
    assert tile_for(torch.float8_e4m3fn, 16384, 1152) == "64x128"


def test_the_length_of_a_turn_is_one_a_dtype() -> None:
    """A turn's products are summed before they are added: tiles of two lengths would give two results."""
    for tiles in TILES.values():
        assert len({tile.k for tile in tiles.values()}) == 1


def test_a_name_that_a_dtype_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tile must be one of 64x64 for torch\.float32, got '128x128'"):
        named_tile(torch.float32, "128x128")
