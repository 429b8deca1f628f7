"""How far images are from float32's, and the seam by which every op takes its definition."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.bench_quality import OPS, Difference, Walk, difference, table, torch_operators
from dit_serve.kernels import linear


def walk(latent: float, pixel: int) -> Walk:
    return Walk(np.full((2, 4, 2, 2), latent, np.float32), np.full((2, 4, 4, 3), pixel, np.uint8))


def test_the_difference_of_walks_is_that_of_their_latents_and_pixels() -> None:
    found = difference("m", ("a", walk(1.5, 10)), ("b", walk(1.0, 35)))
    assert (found.arithmetic, found.against) == ("a", "b")
    assert found.images == 2
    assert found.error == pytest.approx(0.5)
    assert found.largest == 25
    assert found.psnr == pytest.approx(20 * np.log10(255 / 25))


def test_equal_pictures_have_no_psnr() -> None:
    found = difference("m", ("a", walk(1.0, 10)), ("b", walk(1.0, 10)))
    assert (found.error, found.psnr, found.largest) == (0.0, None, 0)
    assert "| equal |" in table([found])


def test_every_op_takes_its_definition_within_and_is_free_again_after() -> None:
    before = [op.takes_kernel for op in OPS]
    with torch_operators():
        assert not any(op.takes_kernel() for op in OPS)
        assert not any(getattr(linear, name)() for name in vars(linear) if name.startswith("takes_"))
    assert [op.takes_kernel for op in OPS] == before


def test_the_table_has_a_line_a_row() -> None:
    row = Difference("digits", "ours", "float32", 3, 0.0123, 41.26, 7)
    assert table([row, row]).splitlines()[2:] == ["| digits | ours | float32 | 3 | 1.23e-02 | 41.3 | 7 of 255 |"] * 2
