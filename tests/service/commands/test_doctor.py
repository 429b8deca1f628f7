"""dit doctor."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest

from dit_serve.models.device import choose_device, choose_dtype
from dit_serve.service.cli import main
from dit_serve.service.commands import doctor
from dit_serve.service.commands.doctor import Finding, examine
from dit_serve.service.workers.cgroup import Memory
from dit_serve.service.workers.placement import Machine

NO_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Blocker())
from dit_serve.service.cli import main
status = main(["doctor"])
assert "torch" not in sys.modules
sys.exit(status)
"""


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Settings that hold on any machine: no DIT_ variable but ports that are free and a cache of the test's own."""
    for name in [name for name in os.environ if name.startswith("DIT_")]:
        monkeypatch.delenv(name)
    for name, value in {"PORT": "0", "METRICS_PORT": "0", "CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(f"DIT_{name}", value)
    return monkeypatch


def found(name: str, changes: Mapping[str, str]) -> list[Finding]:
    """What is found of one thing with these variables beside the present ones."""
    return [finding for finding in examine({**os.environ, **changes}, {}) if finding.name == name]


def test_all_is_well_where_the_tests_run(anywhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any(line.startswith("WRONG") for line in lines)
    device = choose_device(None)
    dtype = str(choose_dtype(None, device)).removeprefix("torch.")
    assert any(line.split()[1:] == ["device", str(device), "in", dtype] for line in lines)
    assert any(f"torch {metadata.version('torch')}" in line for line in lines)
    assert [line.split()[1] for line in lines if "digits-" in line] == ["model", "model"]


def test_json_is_one_object_with_the_same_findings(
    anywhere: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["is_well"] is True
    assert {"packages", "settings", "model", "cache", "memory", "driver", "device", "kernels", "port"} == {
        finding["name"] for finding in told["findings"]
    }
    assert all(set(finding) == {"name", "is_well", "what", "mend"} for finding in told["findings"])


@pytest.mark.parametrize("variable", ["DIT_PORT", "DIT_METRICS_PORT"])
def test_a_taken_port_is_wrong(
    anywhere: pytest.MonkeyPatch, variable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        anywhere.setenv(variable, str(port))
        assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert f"127.0.0.1:{port} is not to be had: Address already in use" in output
    assert f"mend: export {variable}=0" in output


def test_a_port_is_free_again_after_it_was_looked_at(anywhere: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert found("port", {"DIT_PORT": str(port)})[0].is_well
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_a_port_that_is_taken_in_one_of_both_protocols_is_wrong(anywhere: pytest.MonkeyPatch) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        finding = found("port", {"DIT_HOST": "::", "DIT_PORT": str(port)})[0]
    assert (finding.is_well, finding.what) == (False, f"[::]:{port} is not to be had: Address already in use")


def test_variables_of_a_neighbour_are_told_and_do_no_harm(anywhere: pytest.MonkeyPatch) -> None:
    (settings,) = found("settings", {"DIT_METRICS_PORT": "tcp://10.0.0.1:80", "DIT_METRICS_SERVICE_HOST": "10.0.0.1"})
    ignored = "DIT_METRICS_PORT, DIT_METRICS_SERVICE_HOST"
    assert (settings.is_well, settings.what) == (True, f"right; of Kubernetes or Docker, ignored: {ignored}")


def test_a_host_that_is_not_this_machines_is_wrong(anywhere: pytest.MonkeyPatch) -> None:
    (port, _) = found("port", {"DIT_HOST": "192.0.2.1"})
    assert (port.is_well, port.mend) == (False, "unset DIT_HOST")


def test_metrics_that_are_off_need_no_port(anywhere: pytest.MonkeyPatch) -> None:
    assert len(found("port", {"DIT_METRICS": "false"})) == 1


def test_a_cache_that_cannot_be_written_costs_time_alone(anywhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    anywhere.setenv("DIT_CACHE", str(tmp_path / "file" / "cache"))
    cache = found("cache", {})[0]
    assert (cache.is_well, cache.mend) == (True, "export DIT_CACHE=FOLDER")
    assert "cannot be written" in cache.what


def test_a_pickle_needs_a_cache_that_can_be_written(anywhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.pt").touch()
    anywhere.setenv("DIT_CACHE", str(tmp_path / "model.pt" / "cache"))
    assert not found("cache", {"DIT_MODELS": str(tmp_path / "model.pt")})[0].is_well


def test_the_size_of_the_cache_is_told(anywhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cache" / "sums").mkdir(parents=True)
    (tmp_path / "cache" / "sums" / "large").write_bytes(bytes(3_000_000))
    assert found("cache", {})[0].what == f"{tmp_path / 'cache'}: 3 MB, can be written"


@pytest.mark.parametrize(
    ("gigabytes", "changes", "mend"),
    [
        (4, {}, ""),
        (1, {}, "export DIT_STANDBY=false"),
        (4, {"DIT_MODULATION_CACHE_BYTES": "2000000000"}, "unset DIT_MODULATION_CACHE_BYTES"),
        (1.75, {"DIT_DEVICES": "cpu,cpu,cpu,cpu"}, "export DIT_DEVICES=cpu,cpu"),
        (0.5, {"DIT_STANDBY": "false"}, "docker run --memory=1g   # or mem_limit in a compose file"),
    ],
)
def test_memory_that_does_not_suffice_is_told_with_what_mends_it(
    anywhere: pytest.MonkeyPatch, gigabytes: float, changes: Mapping[str, str], mend: str
) -> None:
    memory = Memory(int(gigabytes * 2**30), int(gigabytes * 2**30), is_bounded=True)
    anywhere.setattr(doctor, "this_machine", lambda: Machine(2, memory, has_accelerator=False))
    (finding,) = found("memory", {"DIT_MAX_CONNECTIONS": "100", **changes})
    assert (finding.is_well, finding.mend) == (True, mend)
    assert "of the container's" in finding.what
    assert ("too little" in finding.what) == bool(mend)


@pytest.mark.parametrize(
    ("variable", "value", "name", "sentence"),
    [
        ("DIT_PRT", "9000", "settings", "DIT_PRT is no setting; did you mean DIT_PORT?"),
        ("DIT_STEP_TIMEOUT_SECONDS", "soon", "settings", "DIT_STEP_TIMEOUT_SECONDS is 'soon'"),
        ("DIT_API_KEYS_FILE", "/no/such/file", "settings", "/no/such/file (DIT_API_KEYS_FILE) cannot be read"),
        ("DIT_DEVICES", "cuda:99", "device", "device 'cuda:99' was asked for"),
        ("DIT_DTYPE", "int8", "device", "dtype 'int8' is none of"),
        ("DIT_MODELS", "no/such/model.pt", "model", "no/such/model.pt: no file, folder or hub id"),
    ],
)
def test_a_wrong_variable_is_told(
    anywhere: pytest.MonkeyPatch,
    variable: str,
    value: str,
    name: str,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    anywhere.setenv(variable, value)
    assert main(["doctor"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert line.split()[1] == name
    assert sentence in line


def test_a_precision_that_a_device_lacks_is_told(anywhere: pytest.MonkeyPatch) -> None:
    (device,) = found("device", {"DIT_PRECISION": "fp8", "DIT_DEVICES": "cpu"})
    assert not device.is_well
    assert device.what.startswith("precision fp8 needs an NVIDIA card")


def test_what_is_missing_here_may_be_a_hub_id(anywhere: pytest.MonkeyPatch) -> None:
    (model,) = found("model", {"DIT_MODELS": "xl=facebook/DiT-XL-2-256"})
    assert (model.is_well, model.what) == (True, "facebook/DiT-XL-2-256: to be fetched from the hub")


def test_a_package_that_is_missing_or_too_old_is_told(anywhere: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "pydantic":
            raise metadata.PackageNotFoundError(name)
        return {"torch": "2.9.1+cpu"}.get(name, "99.0")

    anywhere.setattr(metadata, "version", version)
    (packages,) = found("packages", {})
    assert not packages.is_well
    assert "torch 2.9.1+cpu" in packages.what
    assert "pydantic missing" in packages.what
    floors = {text.partition(">=")[0]: text for text in metadata.requires("dit-serve") or ()}
    assert packages.mend == f"python -m pip install --upgrade '{floors['torch']}' '{floors['pydantic']}'"


def test_without_torch_it_runs_and_says_so(anywhere: pytest.MonkeyPatch) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NO_TORCH], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 1, ended.stderr
    lines = ended.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("WRONG")] == ["driver", "device"]
    assert "No module named 'torch'" in ended.stdout
    assert "mend: python -m pip install --upgrade torch" in ended.stdout
    assert any(line.startswith("ok") and "127.0.0.1:0" in line for line in lines)
