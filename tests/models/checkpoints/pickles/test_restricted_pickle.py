"""models/checkpoints/pickles/restricted_pickle.py: objects beside weights are data, and nothing is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import io
import json
import pathlib
import pickle
import subprocess
import sys
import types
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dit_serve.models.checkpoints.pickles import restricted_pickle
from dit_serve.models.checkpoints.pickles.gathered import settings
from dit_serve.models.checkpoints.pickles.inert import Inert, Named
from dit_serve.models.checkpoints.pickles.pickle_names import CodeAskedFor, is_code
from tests.models.checkpoints.pickles.hostile_pickles import ATTACKS, write_hostile

ROOT = Path(__file__).parents[4]


class Objective(enum.Enum):
    VELOCITY = "velocity"


class Config(dict[str, object]):
    """A trainer's own dictionary."""


class Tracker(list[float]):
    """A trainer's own list, with a state beside its items."""

    best = 0.0


class Node:
    """As OmegaConf keeps a value."""

    def __init__(self, value: object) -> None:
        self._val = value


def read_back(path: Path, value: object, protocol: int, is_zip: bool) -> Any:
    torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    return torch.load(path, map_location="cpu", weights_only=False, mmap=is_zip, pickle_module=restricted_pickle)


def trained() -> dict[str, object]:
    """What real trainers put beside their weights."""
    tracker = Tracker([1.0, 2.0])
    tracker.best = 1.0
    parameter = torch.nn.Parameter(torch.randn(3))
    return {
        "weights": collections.OrderedDict(a=torch.randn(3, 4).T, b=parameter, c=torch.zeros(0, 3)),
        "args": argparse.Namespace(num_heads=4, results=pathlib.Path("a/b"), sizes=(1, 2)),
        "own": [Config(a=1), tracker, Objective.VELOCITY, types.SimpleNamespace(x=1)],
        "numpy": [np.float64(1.5), np.zeros((2, 3)), np.dtype("f4"), np.random.RandomState(0).get_state()],
        "plain": [{1, 2}, frozenset({3}), b"bytes", bytearray(b"x"), 1 << 80, 2.5, None, True, 3j, range(3), slice(1)],
        "standard": [
            datetime.datetime(2026, 1, 1), datetime.timedelta(1), decimal.Decimal("1.5"), uuid.uuid4(),
            collections.defaultdict(list, {1: [2]}), collections.Counter("aab"), collections.deque([1], 5),
            functools.partial(torch.nn.functional.silu, inplace=True), torch.nn.Linear, torch.float16, torch.Size([1]),
        ],
        "optimizer": torch.optim.AdamW([parameter]),
        "hints": [list[int], Any],
        "keys": {(1, (2, 3)): 1, torch.float32: 2},
        "itself": tracker,
    }  # fmt: skip


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_are_read_whatever_stands_beside_them(tmp_path: Path, protocol: int, is_zip: bool) -> None:
    value = trained()
    found = read_back(tmp_path / "x.pt", value, protocol, is_zip)
    weights = value["weights"]
    assert isinstance(weights, dict)
    assert list(found["weights"]) == list(weights)
    assert all(torch.equal(found["weights"][name], tensor) for name, tensor in weights.items())
    assert isinstance(found["optimizer"], Inert)
    assert found["own"][1] is found["itself"]
    assert found["own"][1].items == [1.0, 2.0]


def test_settings_are_read_out_of_objects_that_do_nothing(tmp_path: Path) -> None:
    args = argparse.Namespace(
        num_heads=4, model="DiT-S/2", path_type="Linear", lr=1e-4, use_ema=True, prediction=Objective.VELOCITY,
        long="x" * 9999, escape="\x1b[2J", huge=1 << 90, nan=float("nan"),
        network=Config(num_classes=10, num_heads=99, inner=types.SimpleNamespace(image_size=256)),
        left=Config(same=1), right=Config(same=2), node=Node(7),
    )  # fmt: skip
    found = read_back(tmp_path / "x.pt", {"epoch": 3, "args": args, "x": torch.zeros(1)}, 2, True)
    assert settings(found) == {
        "num_heads": 4, "model": "DiT-S/2", "path_type": "Linear", "lr": 1e-4, "use_ema": True,
        "prediction": "velocity", "num_classes": 10, "image_size": 256, "node": 7, "epoch": 3,
    }  # fmt: skip


def test_what_is_named_and_not_called_is_a_name() -> None:
    assert restricted_pickle.load(io.BytesIO(pickle.dumps(collections.deque))).path == "collections.deque"
    assert type(restricted_pickle.load(io.BytesIO(pickle.dumps(Config)))) is Named


@pytest.mark.parametrize(
    ("path", "is_refused"),
    [
        ("argparse.Namespace", False), ("pathlib.PosixPath", False), ("my.trainer.Config", False),
        ("omegaconf.dictconfig.DictConfig", False), ("torch.optim.adamw.AdamW", False), ("enum.Enum", False),
        ("numpy._core.multiarray.scalar", False), ("__main__.Config", False), ("builtins.set", False),
        ("os.system", True), ("nt.system", True), ("builtins.exec", True), ("builtins.open", True), ("sys.exit", True),
        ("shutil.rmtree", True), ("runpy.run_path", True), ("socket.socket", True), ("ctypes.CDLL", True),
        ("marshal.loads", True), ("types.FunctionType", True), ("code.interact", True), ("uuid.getnode", True),
        ("torch.jit.load", True), ("torch.hub.load_state_dict_from_url", True), ("_io.open", True), ("bdb.Bdb", True),
        ("asyncio.run", True), ("multiprocessing.Process", True), ("commands.getoutput", True),
    ],
)  # fmt: skip
def test_data_is_told_from_code(path: str, is_refused: bool) -> None:
    module, _, name = path.rpartition(".")
    assert is_code(module, name) is is_refused


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[str]]]:
    """Of each attack, in each of torch.save's formats, the refusal and what was done meanwhile, from one child."""
    folder = tmp_path_factory.mktemp("hostile")
    named = [(f"{name}, {'zip' if is_zip else 'legacy'}", attack, is_zip)
             for is_zip in (True, False) for name, attack in ATTACKS.items()]  # fmt: skip
    for number, (_, attack, is_zip) in enumerate(named):
        write_hostile(folder / f"{number}.pt", attack, is_zip=is_zip)
    command = [sys.executable, "-m", "tests.models.checkpoints.pickles.hostile_pickles"]
    command += [str(folder / f"{number}.pt") for number in range(len(named))]
    child = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert child.returncode == 0, child.stderr
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    return {name: (words, events) for (name, _, _), (words, events) in zip(named, lines, strict=True)}


def test_every_attack_is_refused_by_name(told: dict[str, tuple[str, list[str]]]) -> None:
    wrong = {name: words for name, (words, _) in told.items() if "is code and not weights, and is refused" not in words}
    assert wrong == {}
    assert max(len(words) for words, _ in told.values()) < 250


def test_nothing_ran_while_an_attack_was_read(told: dict[str, tuple[str, list[str]]]) -> None:
    assert {name: events for name, (_, events) in told.items() if events} == {}


@pytest.mark.parametrize(
    "program",
    [
        pickle.BINBYTES8 + (1 << 62).to_bytes(8, "little"),
        pickle.BYTEARRAY8 + (1 << 40).to_bytes(8, "little"),
        pickle.LONG4 + (1 << 30).to_bytes(4, "little"),
        pickle.PROTO + b"\x04" + pickle.FRAME + (1 << 60).to_bytes(8, "little"),
        pickle.GLOBAL + b"a" * 3_000_000,
        b"",
    ],
)
def test_a_length_beyond_the_file_takes_no_memory(program: bytes) -> None:
    with pytest.raises(EOFError, match="the file ends"):
        restricted_pickle.load(io.BytesIO(program))


def test_a_place_in_the_memo_far_out_takes_no_memory() -> None:
    program = pickle.EMPTY_DICT + pickle.LONG_BINPUT + (1 << 31).to_bytes(4, "little") + pickle.STOP
    assert restricted_pickle.load(io.BytesIO(program)) == {}


def test_what_is_set_on_a_name_is_refused() -> None:
    program = pickle.GLOBAL + b"a\nB\n" + pickle.EMPTY_DICT + pickle.BUILD + pickle.STOP
    with pytest.raises(CodeAskedFor, match=r"a change of a\.B"):
        restricted_pickle.load(io.BytesIO(program))


def test_a_pickle_of_more_opcodes_than_any_checkpoint_ends() -> None:
    program = pickle.NONE + (pickle.NONE + pickle.POP) * 1_000_001 + pickle.STOP
    with pytest.raises(restricted_pickle.TooLong):
        restricted_pickle.load(io.BytesIO(program))
