"""What is installed: all of it locked with hashes, nothing below the fix of a known hole, nothing that was left out."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PLATFORMS = [
    {"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.0", "sys_platform": system,
     "platform_machine": machine, "os_name": "posix", "implementation_name": "cpython", "extra": ""}
    for minor in (11, 12, 13) for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]
FIXED = {  # the first version without the hole, and the hole
    "torch": ("2.10", "CVE-2026-24747, CVE-2025-32434: weights_only=True could be made to run code"),
    "diffusers": ("0.38", "CVE-2026-44513, CVE-2026-45804: code of a model's folder ran unasked"),
    "starlette": ("1.3.1", "CVE-2026-48710, CVE-2026-54282, CVE-2025-62727: Host header, forms, Range header"),
    "h11": ("0.16", "CVE-2025-43859: chunked bodies parsed leniently"),
}
FIXED_IF_PRESENT = {"transformers": "5.3", "ray": "2.54"}  # neither is a dependency; both had holes that let code in
LEFT_OUT = ("torchvision", "timm", "multipart", "python_multipart")


def pinned(path: Path) -> dict[str, tuple[str, Marker | None]]:
    """Name, version and marker of every line NAME==VERSION."""
    found = {}
    for line in path.read_text().splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip(" \\"))
            [exact] = requirement.specifier
            assert exact.operator == "==", line
            found[canonicalize_name(requirement.name)] = (exact.version, requirement.marker)
    return found


CONSTRAINTS = pinned(ROOT / "constraints.txt")
LOCK = pinned(ROOT / "requirements.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [Requirement(text) for text in PROJECT["dependencies"]]


def is_for_us(marker: Marker | None) -> bool:
    return marker is None or any(marker.evaluate(platform) for platform in PLATFORMS)


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    locked = {name: version for name, (version, marker) in LOCK.items() if is_for_us(marker)}
    assert locked.items() <= {name: version for name, (version, _) in CONSTRAINTS.items()}.items()


def test_every_locked_version_has_hashes() -> None:
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())[1:]:
        assert re.search(r"\n    --hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_the_lock_holds_all_that_serving_needs_but_torch() -> None:
    wanted = [each for each in DIRECT if is_for_us(each.marker)]
    wanted += [Requirement(text) for text in metadata.requires("torch") or [] if "extra ==" not in text]
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or name.startswith(("nvidia-", "cuda-")):  # torch's own, in its CUDA builds
            continue
        seen.add(name)
        texts = metadata.requires(name) or []
        wanted += [each for text in texts if is_for_us((each := Requirement(text)).marker)]
    assert "torch" not in LOCK
    assert seen - LOCK.keys() == {"torch"}


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_a_dependency_is_installed_at_its_pin_and_above_its_floor(requirement: Requirement) -> None:
    if requirement.marker is None or requirement.marker.evaluate():
        installed = Version(metadata.version(requirement.name))
        assert installed.public == CONSTRAINTS[canonicalize_name(requirement.name)][0]
        assert requirement.specifier.contains(installed, prereleases=True)


@pytest.mark.parametrize("name", ["torch", "triton"])
def test_kernels_and_sums_are_promised_of_no_older_version_than_is_tested(name: str) -> None:
    [floor] = [each for requirement in DIRECT if requirement.name == name for each in requirement.specifier]
    assert Version(floor.version).release == Version(CONSTRAINTS[name][0]).release[:2]


@pytest.mark.parametrize("name", FIXED)
def test_floors_exclude_versions_with_known_holes(name: str) -> None:
    fixed = Version(FIXED[name][0])
    [floor] = [each for requirement in DIRECT if requirement.name == name for each in requirement.specifier]
    assert (floor.operator, Version(floor.version) >= fixed) == (">=", True), FIXED[name][1]
    assert Version(metadata.version(name)) >= fixed


@pytest.mark.parametrize("name", FIXED_IF_PRESENT)
def test_what_others_bring_is_fixed_too(name: str) -> None:
    if find_spec(name) is not None:
        assert Version(metadata.version(name)) >= Version(FIXED_IF_PRESENT[name])


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_was_left_out_on_purpose_is_not_installed(name: str) -> None:
    assert find_spec(name) is None


@pytest.mark.system
def test_the_bill_of_materials_names_everything_that_is_installed() -> None:
    subprocess.run(["make", "sbom"], cwd=ROOT, check=True, capture_output=True, timeout=600)
    bill = json.loads((ROOT / "build" / "sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "dit-serve"
    listed = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    installed = {canonicalize_name(each.name): each.version for each in metadata.distributions()}
    installed.pop("dit-serve")
    assert installed.items() <= listed.items()
