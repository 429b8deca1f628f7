"""Who is to blame for a failure, and that the others are not harmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dit_serve.service.engine.bisect import bisect, is_out_of_memory


class OutOfMemoryError(RuntimeError):
    """Of the name of torch's."""


class SubclassOfIt(OutOfMemoryError):
    """As a later torch may raise."""


class AcceleratorError(RuntimeError):
    """Of the name of torch's."""


@given(st.lists(st.booleans(), max_size=40))
def test_the_guilty_fail_and_nobody_else(guilt: list[bool]) -> None:
    done: list[int] = []

    def work(rows: list[int]) -> None:
        if any(guilt[row] for row in rows):
            raise ValueError
        done.extend(rows)

    salvage = bisect(range(len(guilt)), work)
    assert salvage.done == done == [row for row, is_guilty in enumerate(guilt) if not is_guilty]
    assert [row for row, _ in salvage.failures] == [row for row, is_guilty in enumerate(guilt) if is_guilty]
    assert salvage.too_many == 0


@given(st.integers(0, 40), st.integers(1, 40))
def test_memory_for_fewer_rows_fails_none_and_tells_how_many_were_too_many(rows: int, most: int) -> None:
    def work(some: list[int]) -> None:
        if len(some) > most:
            raise OutOfMemoryError

    salvage = bisect(range(rows), work)
    assert salvage.done == list(range(rows))
    assert not salvage.failures
    assert salvage.too_many == 0 if rows <= most else salvage.too_many > most


def test_one_guilty_of_n_costs_the_logarithm() -> None:
    calls: list[int] = []

    def work(rows: list[int]) -> None:
        calls.append(len(rows))
        if 5 in rows:
            raise ValueError

    bisect(range(1024), work)
    assert len(calls) == 1 + 2 * 10


def test_an_error_keeps_nothing_of_the_failed_work_alive() -> None:
    class Tensor:
        """Large."""

    alive: set[int] = set()

    def work(rows: list[int]) -> None:
        tensor = Tensor()
        alive.add(id(tensor))
        raise ValueError

    ((_, error),) = bisect([1], work).failures
    assert error.__traceback__ is not None
    innermost = error.__traceback__
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    assert "tensor" not in innermost.tb_frame.f_locals


@pytest.mark.parametrize(
    "error", [AcceleratorError(), RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered")]
)
def test_a_lost_device_is_nobody_s_failure(error: RuntimeError) -> None:
    def work(rows: list[int]) -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        bisect(range(8), work)
    assert raised.value is error


def test_out_of_memory_is_known_by_its_name() -> None:
    assert is_out_of_memory(OutOfMemoryError())
    assert is_out_of_memory(SubclassOfIt())
    assert not is_out_of_memory(MemoryError())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`."), True),
        (AcceleratorError("HIP error: out of memory"), True),
        (RuntimeError("Triton Error [CUDA]: out of memory"), True),
        (RuntimeError("Triton Error [HIP]: Code: 2, Messsage: out of memory"), True),
        (RuntimeError("Triton Error [CUDA]: invalid argument"), False),
        (AcceleratorError("CUDA error: invalid argument\nout of memory"), False),
        (RuntimeError("a row's own error: out of memory"), False),
    ],
)
def test_a_driver_without_memory_is_known_by_its_sentence(error: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_halvings_are_counted_by_their_reason() -> None:
    def work(rows: list[int]) -> None:
        if len(rows) > 4:
            raise OutOfMemoryError
        if 5 in rows:
            raise ValueError

    salvage = bisect(range(8), work)
    assert (salvage.memory_splits, salvage.bisections) == (1, 2)  # 8; then 4 to 7 and 4 to 5
