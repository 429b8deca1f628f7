"""How many workers there are, and where, when the operator leaves it open."""

from __future__ import annotations

from pathlib import Path

import pytest

from dit_serve.service.workers.placement import (
    DEMOS,
    MAX_DEFAULT_WORKERS,
    SMALL_BYTES,
    WORKER_BYTES,
    Machine,
    Placement,
    are_small,
    place,
    this_machine,
)

LAPTOP = Machine(cores=4, free_bytes=16 * WORKER_BYTES, has_accelerator=False)
DIGITS = ("digits-64", "digits-128")


@pytest.fixture
def large(tmp_path: Path) -> str:
    """A checkpoint that is too large to be small; on disk it takes next to nothing."""
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(SMALL_BYTES + 1)
    return str(path)


def test_a_small_model_on_a_processor_gets_one_worker_of_one_thread_a_core() -> None:
    assert place((), DIGITS, LAPTOP) == Placement(("cpu",) * 4, threads=1)
    assert place((), ("mine=digits-64",), LAPTOP) == Placement(("cpu",) * 4, threads=1)


def test_the_operators_choice_is_taken_as_it_is() -> None:
    assert place(("cpu",), DIGITS, LAPTOP) == Placement(("cpu",))
    assert place(("cuda:0", "cuda:1"), DIGITS, LAPTOP).devices == ("cuda:0", "cuda:1")


def test_several_chosen_workers_share_the_cores() -> None:
    assert place(("cpu", "cpu"), DIGITS, LAPTOP).threads == 2
    assert place(("cpu",) * 9, DIGITS, LAPTOP).threads == 1


@pytest.mark.parametrize(
    "machine",
    [
        Machine(4, 16 * WORKER_BYTES, has_accelerator=True),
        Machine(1, 16 * WORKER_BYTES, has_accelerator=False),
        Machine(4, WORKER_BYTES, has_accelerator=False),
        Machine(4, -1, has_accelerator=False),
    ],
)
def test_a_card_a_single_core_or_little_memory_means_one_worker_on_the_best_device(machine: Machine) -> None:
    assert place((), DIGITS, machine) == Placement((None,))


def test_memory_bounds_the_workers() -> None:
    assert len(place((), DIGITS, Machine(8, 3 * WORKER_BYTES, has_accelerator=False)).devices) == 3


def test_many_cores_are_shared_by_a_few_workers() -> None:
    placement = place((), DIGITS, Machine(64, 512 * WORKER_BYTES, has_accelerator=False))
    assert (len(placement.devices), placement.threads) == (MAX_DEFAULT_WORKERS, 64 // MAX_DEFAULT_WORKERS)


def test_a_large_model_gets_the_whole_processor(large: str) -> None:
    assert place((), (large,), LAPTOP) == Placement((None,))
    assert place((), (*DIGITS, large), LAPTOP) == Placement((None,))


def test_whether_a_process_stands_by_is_passed_on() -> None:
    assert not place((), DIGITS, LAPTOP, keeps_standby=False).keeps_standby


def test_small_is_what_lies_here_and_is_small_together(tmp_path: Path, large: str) -> None:
    assert are_small(DIGITS)
    assert are_small([str(DEMOS / "digits-64")])
    assert not are_small([large])
    assert not are_small(["facebook/DiT-XL-2-256"])
    assert not are_small([str(tmp_path / "absent.pt")])


def test_weights_in_subfolders_count(tmp_path: Path, large: str) -> None:
    (tmp_path / "folder" / "transformer").mkdir(parents=True)
    Path(large).rename(tmp_path / "folder" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert not are_small([str(tmp_path / "folder")])


def test_this_machine_has_cores_and_memory() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.free_bytes > 0


def test_a_path_that_cannot_be_looked_at_is_not_small() -> None:
    assert not are_small(["x" * 5000])
