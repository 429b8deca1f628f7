"""A step takes the cores that other processes leave, and gives the number of threads back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dit_serve.models import threads
from dit_serve.models.threads import PERIOD_SECONDS, CoreShare, Usage, core_share, read_usage

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Cores:
    """A machine's time as the test wants it to pass."""

    def __init__(self) -> None:
        self.now, self.used, self.reads = 100.0, Usage(50.0, 3.0), 0

    def pass_time(self, *, idle: float, own: float, seconds: float = PERIOD_SECONDS) -> None:
        """Let time go by in which so many cores are idle, and this process has so many."""
        self.now += seconds
        self.used = Usage(self.used.idle + idle * seconds, self.used.own + own * seconds)

    def read(self) -> Usage:
        self.reads += 1
        return self.used

    def share(self) -> CoreShare:
        return CoreShare(self.read, lambda: self.now)


def taken(share: CoreShare) -> int:
    with share.taken():
        return torch.get_num_threads()


@pytest.mark.parametrize(
    ("idle", "own", "expected"),
    [
        (0.0, 4.0, 4),  # alone on four cores
        (3.0, 1.0, 4),  # alone, with one thread
        (0.0, 2.0, 2),  # two that want all of them
        (1.0, 2.0, 3),  # another has one
        (0.1, 3.6, 4),  # others are hardly there
        (0.0, 0.3, 1),  # crowded
        (12.0, 4.0, 4),  # more cores than threads
    ],
)
def test_a_step_takes_what_this_process_had_and_nobody_had(idle: float, own: float, expected: int) -> None:
    cores = Cores()
    share = cores.share()
    assert taken(share) == 4  # nothing is known yet
    cores.pass_time(idle=idle, own=own)
    assert taken(share) == expected
    assert torch.get_num_threads() == 4


def test_one_that_is_left_alone_takes_all_again() -> None:
    cores = Cores()
    share = cores.share()
    cores.pass_time(idle=0, own=1)
    assert taken(share) == 1
    cores.pass_time(idle=3, own=1)
    assert taken(share) == 4


def test_the_count_is_read_once_a_period() -> None:
    cores = Cores()
    share = cores.share()
    cores.pass_time(idle=0, own=2)
    for _ in range(5):
        assert taken(share) == 2
        cores.pass_time(idle=0, own=2, seconds=PERIOD_SECONDS / 10)
    assert cores.reads == 2


def test_the_number_of_threads_comes_back_after_an_error() -> None:
    cores = Cores()
    share = cores.share()
    cores.pass_time(idle=0, own=1)
    with pytest.raises(ZeroDivisionError), share.taken():
        _ = 1 // 0
    assert torch.get_num_threads() == 4


def busy_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """A /proc/stat of two cores, this process's being the second."""
    stat = folder / "stat"
    stat.write_text(f"cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\ncpu1 {columns}\nintr 5\n")
    monkeypatch.setattr(threads, "STAT", stat)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1}, raising=False)


def test_idle_is_counted_of_the_cores_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy_kernel(tmp_path, monkeypatch, "900 900 900 400 50 900 900 30 0 0")
    monkeypatch.setattr("os.sysconf", {"SC_CLK_TCK": 10}.get)
    before = time.process_time()
    assert read_usage().idle == 48.0
    assert before <= read_usage().own <= time.process_time()


def left_by(share: CoreShare) -> bool:
    """Whether it leaves the number of threads as it is."""
    return share._read is None


def test_the_number_stays_where_the_operator_has_said_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy_kernel(tmp_path, monkeypatch, "0 0 0 400 0 0 0 0 0 0")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert not left_by(core_share(CPU))
    assert left_by(core_share(torch.device("cuda")))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert left_by(core_share(CPU))


def test_the_number_stays_where_the_kernel_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    busy_kernel(tmp_path, monkeypatch, "0 0 0 0 0 0 0 0 0 0")
    assert left_by(core_share(CPU))
    monkeypatch.setattr(threads, "STAT", tmp_path / "absent")
    assert left_by(core_share(CPU))
    assert taken(core_share(CPU)) == 4
