"""How many workers there are, and where, when the operator leaves it open; and what memory they are reckoned with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dit_serve.models.options import ModelOptions
from dit_serve.service.settings import Settings
from dit_serve.service.workers.budget import Budget
from dit_serve.service.workers.cgroup import Memory
from dit_serve.service.workers.placement import (
    DEMOS,
    MAX_DEFAULT_WORKERS,
    SMALL_BYTES,
    Machine,
    Placement,
    are_small,
    place,
    this_machine,
)

ROOT = Path(__file__).parents[3]
GIB = 1 << 30
PLENTY = Memory(512 * GIB, 512 * GIB)
LAPTOP = Machine(4, PLENTY, has_accelerator=False)
DIGITS = ("digits-64", "digits-128")


def placed(machine: Machine = LAPTOP, models: tuple[str, ...] = DIGITS, devices: tuple[str, ...] = ()) -> Placement:
    """Where the workers of these models run."""
    return place(Settings(models=models, devices=devices), machine)[0]


def with_memory(gigabytes: float, **changes: object) -> tuple[Placement, Budget]:
    """Workers and budget in a container of four cores and so much memory."""
    memory = Memory(int(gigabytes * GIB), int(gigabytes * GIB), is_bounded=True)
    return place(Settings.model_validate({"models": DIGITS, **changes}), Machine(4, memory, has_accelerator=False))


@pytest.fixture
def large(tmp_path: Path) -> str:
    """A checkpoint that is too large to be small; on disk it takes next to nothing."""
    path = tmp_path / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(SMALL_BYTES + 1)
    return str(path)


def test_a_small_model_on_a_processor_gets_one_worker_of_one_thread_a_core() -> None:
    assert placed() == Placement(("cpu",) * 4, threads=1)
    assert placed(models=("mine=digits-64",)) == Placement(("cpu",) * 4, threads=1)


def test_the_operators_choice_is_taken_as_it_is() -> None:
    assert placed(devices=("cpu",)) == Placement(("cpu",))
    assert placed(devices=("cuda:0", "cuda:1")).devices == ("cuda:0", "cuda:1")


def test_several_chosen_workers_share_the_cores() -> None:
    assert placed(devices=("cpu", "cpu")).threads == 2
    assert placed(devices=("cpu",) * 9).threads == 1


@pytest.mark.parametrize(
    "machine",
    [
        Machine(4, PLENTY, has_accelerator=True),
        Machine(1, PLENTY, has_accelerator=False),
        Machine(4, Memory(GIB, GIB), has_accelerator=False),
        Machine(4, Memory(GIB, 0), has_accelerator=False),
    ],
)
def test_a_card_a_single_core_or_little_memory_means_one_worker_on_the_best_device(machine: Machine) -> None:
    assert placed(machine) == Placement((None,))


def test_as_many_workers_are_taken_as_there_is_memory_for() -> None:
    counts = []
    for gigabytes in (1, 1.75, 2, 2.5, 3, 4):
        placement, budget = with_memory(gigabytes)
        counts.append(len(placement.devices))
        assert budget.workers == counts[-1]
        assert budget.fits or counts[-1] == 1
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 4)


def test_two_workers_and_all_that_they_need_fit_the_compose_file() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["dit"]
    assert compose["mem_limit"].endswith("g")
    memory = Memory(limit := int(compose["mem_limit"][:-1]) * GIB, limit, is_bounded=True)
    placement, budget = place(Settings(), Machine(compose["cpus"], memory, has_accelerator=False))
    assert len(placement.devices) == compose["cpus"] == 2
    assert budget.total_bytes <= limit - (256 << 20)  # of /tmp, which counts as memory


def test_what_the_operator_asks_for_is_kept_and_told_where_it_does_not_fit() -> None:
    placement, budget = with_memory(1, devices="cpu,cpu,cpu")
    assert (len(placement.devices), budget.workers, budget.fits) == (3, 3, False)
    options = ModelOptions(modulation_cache_bytes=GIB)
    _, budget = with_memory(4, devices="cpu,cpu", options=options)
    assert (budget.cache_bytes, budget.model_cache_bytes, budget.fits) == (2 * GIB, GIB, False)


def test_larger_batches_and_a_longer_queue_are_reckoned_with() -> None:
    least = with_memory(64)[1].total_bytes
    assert with_memory(64, max_batch_sequences=64)[1].total_bytes > least
    assert with_memory(64, max_queue_sequences=100_000)[1].total_bytes > least + (5 << 30)
    assert with_memory(64, standby=False)[1].total_bytes < least


def test_many_cores_are_shared_by_a_few_workers() -> None:
    placement = placed(Machine(64, PLENTY, has_accelerator=False))
    assert (len(placement.devices), placement.threads) == (MAX_DEFAULT_WORKERS, 64 // MAX_DEFAULT_WORKERS)


def test_a_large_model_gets_the_whole_processor(large: str) -> None:
    assert placed(models=(large,)) == Placement((None,))
    assert placed(models=(*DIGITS, large)) == Placement((None,))


def test_a_large_models_weights_and_batches_count(large: str) -> None:
    _, budget = place(Settings(models=(large,)), LAPTOP)
    assert budget.models_bytes == SMALL_BYTES + 1
    assert budget.batch_bytes > with_memory(64)[1].batch_bytes


def test_on_a_card_its_own_memory_is_not_reckoned_with() -> None:
    _, budget = place(Settings(), Machine(4, PLENTY, has_accelerator=True))
    assert (budget.cache_bytes, budget.model_cache_bytes) == (0, None)


def test_whether_a_process_stands_by_is_passed_on() -> None:
    assert not with_memory(64, standby=False)[0].keeps_standby


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
    assert machine.memory.limit_bytes >= machine.memory.free_bytes > 0


def test_a_path_that_cannot_be_looked_at_is_not_small() -> None:
    assert not are_small(["x" * 5000])
