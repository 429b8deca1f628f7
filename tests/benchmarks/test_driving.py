"""How the servers that are compared are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.driving import BEFORE, ours, peers
from benchmarks.driving import before as contender_of


@pytest.mark.parametrize(("package", "module"), [("dit_serve", "dit_serve"), ("service", "service")])
def test_another_checkout_runs_its_own_package_in_its_own_folder(tmp_path: Path, package: str, module: str) -> None:
    (tmp_path / package).mkdir()
    before, now = contender_of("digits-64", tmp_path), ours("digits-64")[0]
    assert (before.name, before.folder) == (BEFORE, tmp_path)
    assert [*before.command] == [module if part == "dit_serve" else part for part in now.command]


def test_a_peer_is_told_its_model_and_threads(tmp_path: Path) -> None:
    for peer in peers(tmp_path):
        assert peer.environment["PEER_FOLDER"] == str(tmp_path)
        assert f"of {peer.environment['OMP_NUM_THREADS']} thread(s)" in peer.setting
        assert peer.setting.startswith(peer.environment["PEER_DTYPE"])
