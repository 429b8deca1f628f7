"""Where the time goes: rows from what a profiler saw, and what is profiled; no card is needed for either."""

from __future__ import annotations

import pytest

from benchmarks.gpu import profile
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.profile import LONGEST, Launched, shares, short
from benchmarks.timing import Work


def test_kernels_others_and_gaps_add_up_to_the_time() -> None:
    found = [
        Launched("_attention_kernel", 6, 1200.0),
        Launched("linear_kernel", 3, 500.0),
        Launched("linear_kernel", 3, 400.0),  # another tile
        Launched("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float> >(int)", 3, 9.0),
        Launched("Memset (Device)", 9, 6.0),
    ]
    assert shares(found, 3, 1000.0) == [
        {"kernel": "attention", "launches": 2.0, "us": 400.0, "share": 0.4},
        {"kernel": "linear", "launches": 2.0, "us": pytest.approx(300.0), "share": pytest.approx(0.3)},
        {"kernel": "others", "launches": 4.0, "us": 5.0, "share": 0.005},
        {"kernel": "gaps", "launches": 0.0, "us": pytest.approx(295.0), "share": pytest.approx(0.295)},
    ]


def test_without_small_kernels_there_are_no_others_and_one_of_just_a_percent_is_none() -> None:
    rows = shares([Launched("a", 1, 10.0), Launched("b", 1, 990.0)], 1, 1000.0)
    assert [(row["kernel"], row["us"]) for row in rows] == [("b", 990.0), ("a", 10.0), ("gaps", 0.0)]


def test_others_come_last_however_much_they_are_together() -> None:
    rows = shares([Launched(f"k{i}", 1, 9.0) for i in range(50)] + [Launched("big", 1, 20.0)], 1, 1000.0)
    assert [row["kernel"] for row in rows] == ["big", "others", "gaps"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gate_residual_layernorm_modulate_kernel", "gate_residual_layernorm_modulate"),
        ("nvjet_tst_256x128_64x4_2x1_v_bz_coopA_bias_TNT", "nvjet_tst_256x128_64x4_2x1_v_bz_coopA_bias_TNT"),
        ("Memcpy DtoD (Device -> Device)", "Memcpy DtoD"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<c10::BFloat16>, "
            "std::array<char*, 3ul> >(int, at::native::CUDAFunctor_add<c10::BFloat16>, std::array<char*, 3ul>)",
            "elementwise: add",
        ),
        (
            "void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<"
            "at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}::operator()() const> >(int)",
            "elementwise: direct_copy",
        ),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::BUnaryFunctor<float, float, float, "
            "at::native::binary_internal::MulFunctor<float> >, std::array<char*, 2ul> >(int)",
            "elementwise: mul",
        ),
        (
            "void at::native::elementwise_kernel<128, 2, at::native::(anonymous namespace)::silu_kernel("
            "at::TensorIteratorBase&)::{lambda()#1}>(int)",
            "elementwise: silu",
        ),
        (
            "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::func_wrapper_t<float, "
            "at::native::sum_functor<float, float, float>::operator()(at::TensorIterator&)> > >(at::native::ReduceOp)",
            "reduce: sum",
        ),
        ("void at::native::elementwise_kernel_with_index<int, {lambda(long)#1}>(int)", "elementwise_kernel_with_index"),
        (
            "void at::native::(anonymous namespace)::CatArrayBatchedCopy<at::native::OpaqueType<2u>, unsigned int>(x*)",
            "CatArrayBatchedCopy",
        ),
        (
            "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_tn_align8>(Params)",
            "cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_256x128_32x3_…",
        ),
        (
            "void cutlass::device_kernel<at::cuda::detail::enable_3x_kernel_for_sm9x<"
            "cutlass::gemm::kernel::GemmUniversal<cute::tuple<int>, void> > >(Params)",
            "GemmUniversal",
        ),
        ("(unknown)", "(unknown)"),
    ],
)
def test_a_kernels_name_is_shortened_to_what_it_does(name: str, expected: str) -> None:
    assert short(name) == expected
    assert len(short("x" * 300)) == LONGEST >= len(expected)


def test_steps_and_decodings_are_profiled_and_of_another_precision_one_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran(work: Work) -> list[Launched]:
        for _ in range(profile.WARM + profile.RUNS):
            work()
        return [Launched("a", profile.RUNS, 1.0)]

    asked, load = list[str | None](), Bench.load

    def recorded(bench: Bench, resolution: int, *, precision: str | None) -> object:
        asked.append(precision)
        return load(bench, resolution)  # a processor has no such precision

    monkeypatch.setattr(profile, "launched", ran)
    monkeypatch.setattr(Bench, "load", recorded)
    monkeypatch.setattr(profile, "SEQUENCES", (4, 2))
    monkeypatch.setattr(profile, "IMAGES", (1, 3))
    parts = ["a step of 4 sequences", "a step of 2 sequences", "decoding of 1", "decoding of 3"]
    assert [row["of"] for row in profile.rows(bench, "")] == [part for part in parts for _ in ("others", "gaps")]
    assert {row["of"] for row in profile.rows(bench, "fp8")} == {parts[0]}
    assert asked == [None, "fp8"]
