"""Servers shared by the tests that leave them as they found them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.models.checkpoints.folders import random_transformer, save_folder
from tests.service.running import Running, fake_command, running

# A busy machine is no reason to fail: what counts is the answer, not how long an example took.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="package")
def fake_server() -> Iterator[Running]:
    with running(fake_command()) as server:
        yield server


@pytest.fixture
def client(fake_server: Running) -> Iterator[httpx.Client]:
    with fake_server.client() as client:
        yield client


@pytest.fixture(scope="package")
def random_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DiT pipeline of 64 pixels and ten classes with random weights, in diffusers' layout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("checkpoints") / "random-64"
        return save_folder(folder, random_transformer(classes=10))
