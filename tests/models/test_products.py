"""Which way a linear layer takes: the bits by the order of families alone, the speed by what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import nn

from dit_serve.kernels.float8 import quantise_reference
from dit_serve.kernels.linear import linear_reference
from dit_serve.kernels.linear_ways import Way
from dit_serve.models import trial
from dit_serve.models.float8 import Float8Linear, quantise_blocks
from dit_serve.models.products import Products

TOKENS, BATCHES = 3, (1, 2, 4)
Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, str], torch.Tensor]


def by_sequence(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
    """Sequences one by one: the same bits in every batch."""
    return torch.cat([linear_reference(each[None], weight, bias, epilogue) for each in x])


def backwards(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
    """The sum over K in float64: other bits, the same in every batch."""
    return by_sequence(x.double(), weight.double(), bias.double(), epilogue).float()


def by_batch(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
    """Other bits in a batch of four."""
    return by_sequence(x, weight, bias, epilogue) * (1 + 1e-5 * (x.shape[0] == 4))


def by_place(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
    """Other bits in a batch's second sequence."""
    y = by_sequence(x, weight, bias, epilogue)
    y[1:2] *= 1 + 1e-5
    return y


def wrong(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
    return by_sequence(x, weight, bias, epilogue) * 1.1


def failing(error: Exception) -> Product:
    def product(*arguments: object) -> torch.Tensor:
        raise error

    return product


def way(name: str, product: Product) -> Way:
    return Way(name, lambda *tensors: True, product)


class Chooser:
    """Chooses for one layer among ways whose times are dictated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.layer = nn.Linear(16, 8).requires_grad_(False)

    def __call__(
        self, families: Sequence[Sequence[Way]], fastest: Sequence[str], *, is_invariant: bool = True
    ) -> dict[int, str]:
        """Return the names chosen by number of rows; `fastest` are the names from the fastest on."""
        self._monkeypatch.setattr(trial, "ORDER", families)
        self.products = Products()
        self.products.batch_invariant = is_invariant

        def milliseconds(work: Callable[[], object]) -> float:
            work()
            return float(fastest.index(work.args[0].name))  # type: ignore[attr-defined]

        self.tried = self.products.choose([(self.layer, "none")], TOKENS, BATCHES, milliseconds)
        return next(iter(self.products.chosen.values()), {})


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Chooser:
    return Chooser(monkeypatch)


def everywhere(name: str) -> dict[int, str]:
    return {TOKENS * batch: name for batch in BATCHES}


def test_the_fastest_way_with_the_bits_of_the_first_family_is_taken(choose: Chooser) -> None:
    ours = [way("slow", by_sequence), way("fast", by_sequence)]
    assert choose([ours, [way("other", backwards)]], ["other", "fast", "slow"]) == everywhere("fast")


def test_a_way_of_another_family_with_the_same_bits_is_taken(choose: Chooser) -> None:
    families = [[way("ours", by_sequence)], [way("library", by_sequence)]]
    assert choose(families, ["library", "ours"]) == everywhere("library")


def test_a_way_is_taken_for_the_numbers_of_rows_at_which_its_bits_are_right(choose: Chooser) -> None:
    families = [[way("ours", by_sequence)], [way("library", by_batch)]]
    assert choose(families, ["library", "ours"]) == {3: "library", 6: "library", 12: "ours"}


def test_the_order_of_families_decides_on_the_bits_and_no_time(choose: Chooser) -> None:
    families = [[way("first", backwards)], [way("second", by_sequence)]]
    assert choose(families, ["second", "first"]) == everywhere("first")
    assert choose(families[::-1], ["first", "second"]) == everywhere("second")


@pytest.mark.parametrize("product", [by_batch, by_place, wrong])
def test_a_family_whose_bits_depend_on_the_batch_or_are_wrong_is_passed_over(choose: Chooser, product: Product) -> None:
    families = [[way("bad", product)], [way("good", by_sequence)]]
    assert set(choose(families, ["bad", "good"]).values()) <= {"good", "bad"}
    assert choose(families, ["bad", "good"])[12] == "good"


def test_a_way_that_fails_is_left_out_and_said(choose: Chooser, caplog: pytest.LogCaptureFixture) -> None:
    families = [[way("broken", failing(RuntimeError("no such tile"))), way("ours", by_sequence)]]
    assert choose(families, ["broken", "ours"]) == everywhere("ours")
    assert "cannot be computed by broken: no such tile" in caplog.text


def test_a_lost_device_is_raised(choose: Chooser) -> None:
    with pytest.raises(torch.AcceleratorError):
        choose([[way("ours", failing(torch.AcceleratorError("an illegal memory access")))]], ["ours"])


def test_the_largest_batches_that_there_is_no_memory_to_try_are_left_out(
    choose: Chooser, caplog: pytest.LogCaptureFixture
) -> None:
    def of_few(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epilogue: str) -> torch.Tensor:
        if len(x) == BATCHES[-1]:
            raise torch.OutOfMemoryError("no memory left")
        return by_sequence(x, weight, bias, epilogue)

    assert set(choose([[way("ours", of_few)]], ["ours"])) == {batch * TOKENS for batch in BATCHES[:-1]}
    assert choose.tried == BATCHES[:-1]
    assert "no memory to try the linear layer (8, 16, 'none', torch.float32) with 4 sequences" in caplog.text


def test_without_memory_to_try_one_sequence_it_is_raised(choose: Chooser) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        choose([[way("ours", failing(torch.OutOfMemoryError("no memory left")))]], ["ours"])


def test_where_no_family_is_invariant_it_is_said_and_the_default_serves(
    choose: Chooser, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose([[way("bad", by_place)]], ["bad"]) == {}
    assert "gives a row the same bits in every batch" in caplog.text


def test_without_invariance_the_fastest_right_way_is_taken(choose: Chooser) -> None:
    families = [[way("ours", by_sequence)], [way("library", by_batch)], [way("wrong", wrong)]]
    assert choose(families, ["wrong", "library", "ours"], is_invariant=False) == everywhere("library")


def test_what_was_chosen_is_used_for_its_number_of_rows_and_nothing_else(choose: Chooser) -> None:
    used = []

    def recorded(x: torch.Tensor, *rest: object) -> torch.Tensor:
        used.append(len(x))
        return by_sequence(x, *rest)  # type: ignore[arg-type]

    choose([[way("ours", recorded)]], ["ours"])
    used.clear()
    for sequences in (1, 2, 3, 4):
        x = torch.randn(sequences, TOKENS, 16)
        torch.testing.assert_close(choose.products(choose.layer, x), choose.layer(x))
    assert used == [1, 2, 4]
    choose.products(choose.layer, torch.randn(1, TOKENS, 16), torch.zeros(TOKENS, 8))  # a residual is another product
    choose.products.gelu(choose.layer, torch.randn(1, TOKENS, 16))  # and so is an epilogue
    assert used == [1, 2, 4]


def test_float8_layers_are_near_those_they_are_made_of() -> None:
    block = nn.Module()
    block.qkv, block.fc1, block.fc2, block.proj = (nn.Linear(64, 32).requires_grad_(False) for _ in range(4))
    wide = block.qkv
    quantise_blocks(nn.ModuleList([block]))
    assert [type(layer) for layer in (block.qkv, block.proj, block.fc1, block.fc2)] == [
        Float8Linear, nn.Linear, Float8Linear, Float8Linear
    ]
    x = torch.randn(2, TOKENS, 64)
    got = Products()(block.qkv, quantise_reference(x))
    expected = wide(x)
    assert 0 < (got - expected).norm() / expected.norm() < 0.1  # two factors, each with 4 bits
    values, scales = Products().gelu(block.fc1, quantise_reference(x))
    assert values.dtype == torch.float8_e4m3fn
    assert scales.shape == (2, TOKENS)
