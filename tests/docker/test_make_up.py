"""`make up` of a checkout that nobody but its owner can read, with `true` in the place of docker compose."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docker.boards import DOCKER

ROOT = DOCKER.parent
MOUNTED = sorted(
    {
        volume.split(":")[0].removeprefix("./")
        for service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }
    | {"docker/no-keys.txt"}
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make up` needs, as under umask 077."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(DOCKER, folder / "docker", ignore=shutil.ignore_patterns("secrets", "__pycache__"))
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@pytest.fixture(scope="module")
def said(checkout: Path) -> str:
    """What it prints."""
    return make_up(checkout)


def make_up(checkout: Path) -> str:
    command = ["make", "-s", "up", "COMPOSE=true", f"PYTHON={sys.executable}"]
    environment = os.environ | {"FRONT_PORT": "8123"}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True).stdout


def is_open_to_all(path: Path) -> bool:
    wanted = 0o055 if path.is_dir() else 0o044
    return stat.S_IMODE(path.stat().st_mode) & wanted == wanted


def test_the_containers_users_can_read_what_is_mounted_and_nothing_else(checkout: Path, said: str) -> None:
    mounted = {path for name in MOUNTED for path in (checkout / name, *(checkout / name).rglob("*"))}
    assert len(mounted) >= 10
    others = set(checkout.rglob("*")) - mounted - {checkout / "docker" / "secrets" / "api_keys"}
    assert [path for path in mounted if not is_open_to_all(path)] == []
    assert [path for path in others if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_the_key_is_read_by_the_container_and_out_of_reach_of_other_people(checkout: Path, said: str) -> None:
    secrets = checkout / "docker" / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert [path.name for path in secrets.iterdir()] == ["api_keys"]
    assert is_open_to_all(secrets / "api_keys")
    assert len((secrets / "api_keys").read_text().strip()) >= 32


def test_it_says_where_the_service_is_and_how_to_ask_it_with_the_key(checkout: Path, said: str) -> None:
    first, *command = said.splitlines()
    assert "http://127.0.0.1:8123," in first
    assert "docker/secrets/api_keys" in first
    shown = 'curl() { printf "%s\\n" "$@"; }\n' + "\n".join(command)
    words = subprocess.run(["bash", "-c", shown], cwd=checkout, capture_output=True, text=True, check=True).stdout
    key = (checkout / "docker" / "secrets" / "api_keys").read_text().strip()
    assert "http://127.0.0.1:8123/generate" in words.splitlines()
    assert f"authorization: Bearer {key}" in words.splitlines()


def test_a_key_that_is_there_stays(checkout: Path, said: str) -> None:
    before = (checkout / "docker" / "secrets" / "api_keys").read_text()
    make_up(checkout)
    assert (checkout / "docker" / "secrets" / "api_keys").read_text() == before
