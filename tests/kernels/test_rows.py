"""How a row is split in two blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.kernels.rows import split, warps_for


@pytest.mark.parametrize(
    ("width", "least", "blocks"),
    [
        (1152, 1, (1024, 128)), (768, 1, (512, 256)), (384, 1, (256, 128)), (1024, 1, (1024, 0)), (1, 1, (1, 0)),
        (72, 16, (64, 16)), (48, 16, (32, 16)), (12, 16, (16, 0)), (64, 16, (64, 0)), (120, 16, (64, 64)),
    ],
)
def test_the_head_is_the_largest_power_of_two_and_the_tail_holds_the_rest(
    width: int, least: int, blocks: tuple[int, int]
) -> None:
    assert split(width, least) == blocks


@given(st.integers(1, 10_000), st.sampled_from([1, 16]))
def test_the_blocks_are_powers_of_two_that_hold_the_row_with_less_than_half_to_spare(width: int, least: int) -> None:
    head, tail = split(width, least)
    assert all(block & (block - 1) == 0 for block in (head, tail))
    assert width <= head + tail < max(2 * width, 2 * least + 1)
    assert head <= max(width, least)


@pytest.mark.parametrize(("width", "warps"), [(8, 1), (1152, 1), (1280, 1), (1281, 2), (2560, 2), (4608, 4)])
def test_a_warp_holds_a_row_of_1152(width: int, warps: int) -> None:
    assert warps_for(width) == warps
