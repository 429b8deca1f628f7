"""Looks at what `dit serve` needs with the same arguments and DIT_* variables, and says what is missing or wrong:

    dit doctor                       # with the command that mends each such thing
    dit doctor a.pt --port 8080      # before `dit serve a.pt --port 8080`
    dit doctor --json                # the same as one JSON object

Exit status 0: `dit serve` would start. 1: it would not, because of what is marked WRONG; what is marked "note" costs
time alone. Loads no model and downloads nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.errors import CheckpointError, printable
from dit_serve.models.options import split_name
from dit_serve.service.environment import injected
from dit_serve.service.errors import SettingsError
from dit_serve.service.http.listening import listen, shown, why
from dit_serve.service.settings import Settings, add_flags, read_settings
from dit_serve.service.workers.budget import Budget, Demand, reckon
from dit_serve.service.workers.placement import ACCELERATOR_FILES, DEMOS, demand_of, place, this_machine

DEFAULT_MODELS = Settings.model_fields["models"].default
INSTALL = "python -m pip install --upgrade"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing: whether `dit serve` starts with it, and the command that mends it, or ""."""

    name: str
    is_well: bool
    what: str
    mend: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `dit serve`, and the form of the answer."""
    parser.add_argument("--json", action="store_true", help="Print one JSON object instead of lines.")
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Prints what was found; 0 if `dit serve` would start."""
    findings = examine(os.environ, {name: value for name, value in vars(options).items() if name != "json"})
    is_well = all(finding.is_well for finding in findings)
    if options.json:
        print(json.dumps({"is_well": is_well, "findings": list(map(dataclasses.asdict, findings))}, indent=2))
        return 0 if is_well else 1
    for finding in findings:
        verdict = "WRONG" if not finding.is_well else "note" if finding.mend else "ok"
        print(f"{verdict:<6} {finding.name:<9} {printable(finding.what)}")
        if finding.mend:
            print(f"{'mend:':>16} {printable(finding.mend)}")
    return 0 if is_well else 1


def examine(environment: Mapping[str, str], flags: Mapping[str, Any]) -> list[Finding]:
    """Everything found; what depends on the settings, only if they are right."""
    found = [_packages()]
    try:
        from dit_serve.service.http.auth import read_digests

        read_digests(settings := read_settings(environment, flags))
    except (SettingsError, ImportError) as error:
        return [*found, _failed("settings", error)]
    links = ", ".join(injected(environment))
    found.append(Finding("settings", True, f"right; of Kubernetes or Docker, ignored: {links}" if links else "right"))
    for check in (_models, _caches, _memory, _driver, _device, _ports):
        try:
            found += check(settings)
        except (ImportError, OSError) as error:  # a library is missing, or one that it is linked with
            found.append(_failed(check.__name__.strip("_"), error))
    return found


def _failed(name: str, error: Exception) -> Finding:
    if isinstance(error, SettingsError):
        return Finding(name, False, str(error), "dit serve --help   # lists every setting: correct this one")
    package = (getattr(error, "name", None) or "torch").partition(".")[0].replace("_", "-")
    return Finding(name, False, f"cannot be told: {error}", f"{INSTALL} {package}")


def _packages() -> Finding:
    found, wanted = [f"python {platform.python_version()}"], []
    for requirement, _, marker in (text.partition(";") for text in metadata.requires("dit-serve") or ()):
        name, _, floor = requirement.strip().partition(">=")
        version = "missing"
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version(name)
        if "extra" in marker or (marker and version == "missing"):  # meant for another system, perhaps
            continue
        if is_low := version == "missing" or _numbers(version) < _numbers(floor):
            wanted.append(f"'{name}>={floor}'")
        if is_low or name in ("torch", "triton", "diffusers"):
            found.append(f"{name} {version}")
    return Finding("packages", not wanted, ", ".join(found), f"{INSTALL} {' '.join(wanted)}" if wanted else "")


def _numbers(version: str) -> list[int]:
    return list(map(int, re.findall(r"\d+", version.partition("+")[0])))


def _models(settings: Settings) -> Iterator[Finding]:
    for path in _paths(settings):
        if path.exists():
            yield Finding("model", True, f"{path}: here")
            continue
        from dit_serve.models.checkpoints.hub import is_hub_id

        is_well = is_hub_id(str(path))
        what = "to be fetched from the hub" if is_well else f"no file, folder or hub id{hint(path, DEFAULT_MODELS)}"
        yield Finding("model", is_well, f"{path}: {what}", "" if is_well else "unset DIT_MODELS   # or correct it")


def _paths(settings: Settings) -> list[Path]:
    places = (split_name(model)[1] for model in settings.models)
    return [DEMOS / place if (DEMOS / place).is_dir() else Path(place) for place in places]


def _caches(settings: Settings) -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from dit_serve.models.checkpoints.cache import cache_folder, home_cache_folder

    try:
        own = cache_folder()
    except CheckpointError as error:
        yield Finding("cache", False, str(error), "export DIT_CACHE=FOLDER")
        return
    is_passing = not os.environ.get("DIT_CACHE") and home_cache_folder() is None
    paths = _paths(settings)
    is_converted = any(file.suffix in (".pt", ".bin") for path in paths for file in (path, *path.rglob("*")))
    is_fetched = not all(path.exists() for path in paths)
    needed = ("DIT_CACHE", own, is_converted), ("HF_HOME", Path(HF_HUB_CACHE), is_fetched)
    for variable, folder, is_needed in needed:
        held = sum(file.lstat().st_size for file in folder.rglob("*"))
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            what = f"{folder}: {held / 1e6:,.0f} MB, can be written"
            if is_passing and folder == own:
                what += ", but lasts no longer than temporary files: no home folder can be written"
            yield Finding("cache", True, what, f"export {variable}=FOLDER" * (is_passing and folder == own))
        else:
            yield Finding("cache", not is_needed, f"{folder}: cannot be written", f"export {variable}=FOLDER")


def _memory(settings: Settings) -> Iterator[Finding]:
    machine = this_machine()
    _, budget = place(settings, machine)
    mend = "" if budget.fits else _relief(settings, demand_of(settings, machine), budget)
    yield Finding("memory", True, f"{machine.cores} cores; {budget.sentence()}", mend)


def _relief(settings: Settings, demand: Demand, budget: Budget) -> str:
    """The first command after which all of it fits, or else the one that says where memory is to come from."""
    changes = [
        ("unset DIT_MODULATION_CACHE_BYTES", dataclasses.replace(demand, model_cache_bytes=None), budget.workers),
        ("export DIT_STANDBY=false", dataclasses.replace(demand, keeps_standby=False), budget.workers),
    ]
    for workers in range(len(settings.devices) - 1, 0, -1):
        changes.append((f"export DIT_DEVICES={','.join(settings.devices[:workers])}", demand, workers))
    for command, changed, workers in changes:
        if reckon(changed, workers, budget.memory).fits:
            return command
    if budget.memory.is_bounded:
        wanted = budget.memory.limit_bytes + budget.total_bytes - budget.memory.free_bytes
        return f"docker run --memory={math.ceil(wanted / 2**30)}g   # or mem_limit in a compose file"
    return "ps aux --sort=-rss | head   # what else has the memory"


def _driver(settings: Settings) -> Iterator[Finding]:
    import torch

    files = [file for file in ACCELERATOR_FILES if os.path.exists(file)]
    is_used, is_built = torch.cuda.is_available(), bool(torch.version.cuda or torch.version.hip)
    mend = "nvidia-smi   # or rocminfo: what the driver says" if is_built else f"{INSTALL} --force-reinstall torch"
    what = f"device files of cards: {', '.join(files) or 'none'}; torch {'uses one' if is_used else 'sees none'}"
    yield Finding("driver", True, what, mend if files and not is_used else "")


def _device(settings: Settings) -> Iterator[Finding]:
    import torch

    from dit_serve.models.device import check_precision, choose_device, choose_dtype
    from dit_serve.models.errors import DeviceError

    try:
        devices = [choose_device(name) for name in settings.devices or (None,)]
        chosen = [f"{device} in {str(choose_dtype(settings.options.dtype, device))[6:]}" for device in devices]
        for device in devices:
            check_precision(settings.options.precision, device)
    except DeviceError as error:
        mend = "unset DIT_DEVICES DIT_DTYPE DIT_PRECISION   # leaves the choice open"
        yield Finding("device", False, str(error), mend)
        return
    yield Finding("device", True, ", ".join(chosen))
    if devices[0].type != "cuda":
        has_onednn = devices[0].type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        yield Finding("kernels", True, "definitions in torch" + ", linear layers by oneDNN" * has_onednn)
    elif find_spec("triton") is None:
        yield Finding("kernels", True, "definitions in torch: slow without Triton", f"{INSTALL} triton")
    elif any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        yield Finding("kernels", True, "Triton, with a C compiler")
    else:
        yield Finding("kernels", True, "Triton, and no C compiler if it needs one", "apt-get install gcc")


def _ports(settings: Settings) -> Iterator[Finding]:
    asked = [("DIT_", settings.host, settings.port), ("DIT_METRICS_", settings.metrics_host, settings.metrics_port)]
    for prefix, host, port in asked if settings.metrics else asked[:1]:
        try:
            for listener in listen(host, port):
                listener.close()
            yield Finding("port", True, f"{shown(host)}:{port} is free")
        except OSError as error:
            is_taken = error.errno in (errno.EADDRINUSE, errno.EACCES)
            mend = f"export {prefix}PORT=0   # any free one" if is_taken else f"unset {prefix}HOST"
            yield Finding("port", False, f"{shown(host)}:{port} is not to be had: {why(error)}", mend)
