"""attention's kernel against its definition in float64."""

from __future__ import annotations

import pytest
import torch

from dit_serve.kernels.attention import attention_launch, attention_reference, attention_triton

# In 16 bits the weights are rounded before they meet V (torch's own kernels do the same), so the error is a share of
# V's numbers, up to about 8 here, not of the result. The interpreter cuts bfloat16 short where a card rounds.
TOLERANCES = [(torch.float32, 1e-5, 2e-5), (torch.float16, 2**-9, 0.01), (torch.bfloat16, 2**-7, 0.08)]
SHAPES = [
    (1, 257, 2, 72),  # one token past whole blocks
    (1, 256, 2, 72),  # DiT-XL/2 at 256 pixels
    (5, 1, 2, 72),
    (3, 16, 4, 12),  # a head below the least side of a product
    (2, 33, 3, 48),  # 32 + 16
    (2, 64, 2, 72),  # DiT-XL/4 at 256 pixels
    (1, 20, 2, 72),  # one block of keys
    (1, 65, 1, 64),  # no tail
    (1, 20, 1, 128),
    (0, 16, 2, 72),
]


def make_qkv(rows: int, tokens: int, heads: int, size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return (2 * torch.randn(rows, tokens, 3 * heads * size, device=device)).to(dtype)


@pytest.mark.parametrize(("dtype", "rtol", "atol"), TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_definition(
    shape: tuple[int, int, int, int], dtype: torch.dtype, rtol: float, atol: float, device: torch.device
) -> None:
    qkv = make_qkv(*shape, dtype, device)
    got = attention_triton(qkv, shape[2])
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), attention_reference(qkv.double(), shape[2]), rtol=rtol, atol=atol)


def test_a_thousand_tokens_equal_the_definition(device: torch.device) -> None:
    qkv = make_qkv(1, 1024, 1, 72, torch.bfloat16, device)
    expected = attention_reference(qkv.double(), 1)
    torch.testing.assert_close(attention_triton(qkv, 1).double(), expected, rtol=2**-7, atol=0.08)  # as above


def test_scores_of_thousands_do_not_overflow(device: torch.device) -> None:
    qkv = 100 * make_qkv(1, 70, 1, 72, torch.float32, device)
    expected = attention_reference(qkv.double(), 1)
    # scores of 10⁵ in float32 are exact to 0.01, and so are the weights' ratios
    torch.testing.assert_close(attention_triton(qkv, 1).double(), expected, rtol=0.05, atol=0.05 * 800)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_alone_and_among_others_is_bitwise_equal(dtype: torch.dtype, device: torch.device) -> None:
    qkv = make_qkv(4, 33, 2, 72, dtype, device)
    together = attention_triton(qkv, 2)
    for row in range(4):
        assert torch.equal(attention_triton(qkv[row:row + 1], 2), together[row:row + 1])


def test_blocks_of_fewer_queries_for_fewer_rows_change_no_bit(device: torch.device) -> None:
    qkv = make_qkv(34, 66, 2, 24, torch.bfloat16, device)
    alone, together = (attention_launch(rows, 2).arguments["QUERIES"] for rows in (qkv[:1], qkv))
    assert (alone, together) == (64, 128)
    assert torch.equal(attention_triton(qkv[:1], 2), attention_triton(qkv, 2)[:1])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's numpy warns of what is meant
def test_what_is_not_finite_stays_in_its_row_and_its_head(device: torch.device) -> None:
    qkv = make_qkv(3, 33, 2, 72, torch.float32, device)
    clean = attention_triton(qkv, 2)
    qkv[0, 32, 2 * 144 + 71], qkv[2, 5, 0] = float("nan"), float("inf")  # V of the first head; its query 5
    got = attention_triton(qkv, 2)
    assert torch.equal(got[1], clean[1])
    assert torch.equal(got[0, :, 72:], clean[0, :, 72:])
    assert got[0, :, 71].isnan().all()
    assert torch.equal(got[2, :, 72:], clean[2, :, 72:])
    assert got[2, 5, :72].isnan().all()


@pytest.mark.parametrize(
    ("qkv", "num_heads", "words"),
    [
        (torch.zeros(2, 24), 2, r"qkv must be \(N, T, 3D\) .*, got \(2, 24\)"),
        (torch.zeros(1, 2, 24), 5, r"D a multiple of 5 heads, got \(1, 2, 24\)"),
        (torch.zeros(1, 2, 24), 0, "D a multiple of 0 heads"),
        (torch.zeros(1, 2, 24, dtype=torch.float64), 2, "qkv must be one of .*, got torch.float64"),
        (torch.zeros(1, 24, 2).transpose(1, 2), 2, r"qkv must be contiguous, got strides \(48, 1, 2\)"),
        (torch.zeros(1, 2, 3 * 2 * 136), 2, "a head must have at most 128 elements, got 136"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_with_its_value(
    qkv: torch.Tensor, num_heads: int, words: str, device: torch.device
) -> None:
    with pytest.raises(ValueError, match=words):
        attention_triton(qkv.to(device), num_heads)


def test_is_a_custom_op_whose_fake_agrees(device: torch.device) -> None:
    arguments = (make_qkv(2, 3, 2, 12, torch.float32, device), 2)
    torch.library.opcheck(attention_triton, arguments, test_utils=("test_schema", "test_faketensor"))
