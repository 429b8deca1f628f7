"""A profile's kernels as the rows of a report."""

from __future__ import annotations

import pytest

from benchmarks.gpu.profile import REPEATS, shares, shortened


def test_kernels_of_one_short_name_are_one_row_small_ones_are_summed_and_the_rest_is_between_them() -> None:
    kernels = [
        ("void at::native::f<int>(float)", 2 * REPEATS, 300.0 * REPEATS), ("f<float>", REPEATS, 100.0 * REPEATS),
        ("linear_kernel", REPEATS, 500.0 * REPEATS), ("tiny", REPEATS, 4.0 * REPEATS), ("less", REPEATS, 3.0 * REPEATS),
        ("cudaGraphLaunch", REPEATS, 0.0),
    ]
    rows = list(shares(kernels, 1000.0))
    assert [(row["kernel"], row["launches"]) for row in rows] == [
        ("linear_kernel", 1), ("f", 3), ("others", 2), ("between kernels", None),
    ]
    assert [row["us"] for row in rows] == pytest.approx([500, 400, 7, 93])
    assert [row["share"] for row in rows] == pytest.approx([0.5, 0.4, 0.007, 0.093])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("nvjet_sm90_tst_192x192_64x4_2x1_v_bz_coopB_bias_TNN", "nvjet_sm90_tst_192x192_64x4_2x1_v_bz_coopB_bias_TNN"),
        (
            "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel_impl<at::native::CUDAFunctor_add<",
            "elementwise CUDAFunctor_add",
        ),
        ("void at::native::(anonymous namespace)::upsample_nearest2d<c10::BFloat16>", "upsample_nearest2d"),
        ("sm90_" + 70 * "x", "sm90_" + 55 * "x"),
    ],
)
def test_a_name_is_without_namespaces_and_brackets(name: str, short: str) -> None:
    assert shortened(name) == short
