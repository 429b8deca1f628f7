"""checkpoints/hub.py against a hub on the loopback, in processes of their own: huggingface_hub reads settings once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dit_serve.models.checkpoints.components.component_weights import WEIGHTS
from dit_serve.models.checkpoints.hub import fetch_dit, fetch_vae, is_hub_id
from dit_serve.models.errors import CheckpointError
from tests.models.checkpoints.fake_hub import FakeHub
from tests.models.checkpoints.written import TINY, save_folder

MAIN, OLD = "a" * 40, "b" * 40
CLIENT = """
import json, sys
from dit_serve.models.checkpoints.checkpoint import open_checkpoint
from dit_serve.models.errors import CheckpointError
from dit_serve.models.checkpoints.hub import fetch_file, fetch_vae
for kind, name, revision in json.loads(sys.argv[1]):
    try:
        if kind == "vae":
            print(json.dumps({"vae": str(fetch_vae(name))}))
            continue
        if kind == "file":
            print(json.dumps({"file": str(fetch_file(name, ("none.pth", "model_index.json", "vae/config.json")))}))
            continue
        found = open_checkpoint(name, revision=revision)
        print(json.dumps({"name": found.name, "revision": found.revision, "weights": [str(p) for p in found.weights],
                          "vae": str(found.vae), "classes": found.config.num_classes}))
    except CheckpointError as error:
        print(json.dumps({"error": str(error)}))
"""
Result = dict[str, str | int | list[str]]


def ask(home: Path, endpoint: str, *cases: tuple[str, str, str | None], **more: str) -> list[Result]:
    """Open each (kind, name, revision) one after another in one new process; return what it printed of each."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env |= {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf"),
        "DIT_CACHE": str(home / "dit"),
        "HF_TOKEN_PATH": "/none",
    }
    env |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", **more}
    child = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(cases)], env=env, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    return [json.loads(line) for line in child.stdout.splitlines()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("repositories")
    torch.manual_seed(0)
    save_folder(root / "whole", TINY)
    save_folder(root / "bin", TINY, pickled=True)
    shutil.copytree(root / "whole", root / "both")
    shutil.copy(next((root / "bin" / "transformer").glob("*.bin")), root / "both" / "transformer")
    (root / "whole" / "danger.py").write_text("raise SystemExit")
    (root / "whole" / "transformer" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not wanted")
    shutil.copytree(root / "whole", root / "half")
    for part in ("transformer", "vae"):
        for old in (root / "half" / part).glob("*.safetensors"):
            old.unlink()
        for name in ("fp16", "bf16"):
            copy = root / "half" / part / f"{WEIGHTS}.{name}.safetensors"
            shutil.copy(root / "whole" / part / f"{WEIGHTS}.safetensors", copy)
    save_folder(root / "odd", TINY, shard="60KB")
    for old in (root / "odd").glob("*/*.safetensors*"):
        old.rename(old.with_name(old.name.replace(WEIGHTS, f"{WEIGHTS}.odd")))
    for index in (root / "odd").glob("*/*.index.json"):
        index.write_text(index.read_text().replace(WEIGHTS, f"{WEIGHTS}.odd"))
    shutil.copytree(root / "both", root / "dropping")
    shutil.copytree(root / "both", root / "gated")
    shutil.copytree(root / "both" / "vae", root / "vae")
    (root / "empty").mkdir()
    (root / "empty" / "README.md").write_text("nothing else")
    (root / "files").mkdir()
    (root / "files" / "DiT-XL-2-256x256.pt").write_bytes(b"not wanted")
    return {f"owner/{path.name}": path for path in root.iterdir()}


@pytest.fixture(scope="module")
def hub(folders: dict[str, Path]) -> Iterator[FakeHub]:
    with FakeHub(folders, {"main": MAIN, "v1": OLD}) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def online(hub: FakeHub, home: Path) -> dict[str, Result]:
    cases = {
        "whole": ("dit", "owner/whole", None),
        "tag": ("dit", "owner/whole", "v1"),
        "at": ("dit", "owner/both@v1", None),
        "bin": ("dit", "owner/bin", None),
        "half": ("dit", "owner/half", None),
        "odd": ("dit", "owner/odd", None),
        "dropping": ("dit", "owner/dropping", None),
        "vae": ("vae", "owner/vae", None),
        "vae of pipeline": ("vae", "owner/bin", None),
        "no repository": ("dit", "owner/missing", None),
        "no revision": ("dit", "owner/whole", "v9"),
        "gated": ("dit", "owner/gated", None),
        "empty": ("dit", "owner/empty", None),
        "files": ("dit", "owner/files", None),
        "files as vae": ("vae", "owner/files", None),
        "no vae": ("vae", "owner/empty", None),
        "file": ("file", "owner/both@v1", None),
        "no file": ("file", "owner/empty", None),
    }
    return dict(zip(cases, ask(home, hub.url, *cases.values()), strict=True))


def test_a_hub_id_opens_as_its_folder_at_one_commit(online: dict[str, Result]) -> None:
    assert online["whole"]["name"] == "owner/whole"
    assert online["whole"]["revision"] == MAIN
    assert online["whole"]["classes"] == 10
    assert str(online["whole"]["vae"]).endswith("/vae")


def test_a_single_file_is_the_first_of_those_that_will_do(online: dict[str, Result]) -> None:
    assert str(online["file"]["file"]).endswith(f"{OLD}/model_index.json")
    assert str(online["no file"]["error"]).startswith("owner/empty: the hub's repository has no none.pth and no model")


def test_a_revision_is_resolved_and_honoured_both_ways_of_giving_it(online: dict[str, Result]) -> None:
    assert online["tag"]["revision"] == OLD
    assert online["at"]["revision"] == OLD
    assert online["at"]["name"] == "owner/both"


def test_only_configs_and_one_kind_of_weights_are_downloaded(online: dict[str, Result], hub: FakeHub) -> None:
    assert "error" not in online["whole"]
    got = [request for request in hub.requests if request.startswith("GET /owner/")]
    assert not [request for request in got if request.endswith((".py", ".md", "fp16.safetensors"))]
    assert not [request for request in got if "/both/" in request and request.endswith(".bin")]


def test_bin_weights_are_downloaded_where_there_are_no_others_and_converted(
    online: dict[str, Result], home: Path
) -> None:
    assert str(online["bin"]["weights"][0]).startswith(str(home / "dit" / "converted"))


def test_of_variants_the_best_alone_is_downloaded_and_taken(online: dict[str, Result], hub: FakeHub) -> None:
    (weights,) = [Path(path) for path in list(online["half"]["weights"])]
    assert weights.name == f"{WEIGHTS}.bf16.safetensors"
    got = {request.rpartition("/")[2] for request in hub.requests if request.startswith("GET /owner/half/resolve/")}
    assert {name for name in got if name.startswith(WEIGHTS)} == {f"{WEIGHTS}.bf16.safetensors"}


def test_a_variant_of_any_name_is_downloaded_with_all_its_shards(online: dict[str, Result]) -> None:
    names = [Path(path).name for path in list(online["odd"]["weights"])]
    assert len(names) > 1
    assert all(name.startswith(f"{WEIGHTS}.odd-000") for name in names)


def test_a_dropped_connection_is_tried_again(online: dict[str, Result], hub: FakeHub) -> None:
    assert online["dropping"].get("name") == "owner/dropping", online["dropping"]
    got = [request for request in hub.requests if request.startswith("GET /owner/dropping/resolve/")]
    assert len(got) > len(set(got))


def test_a_vae_is_fetched_alone_or_out_of_a_pipeline(online: dict[str, Result]) -> None:
    alone, inside = Path(str(online["vae"]["vae"])), Path(str(online["vae of pipeline"]["vae"]))
    assert (alone / "diffusion_pytorch_model.safetensors").exists()
    assert inside.name == "vae"
    assert (inside / "diffusion_pytorch_model.bin").exists()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no repository", "owner/missing: the hub has no such repository"),
        ("no revision", "owner/whole: the hub's repository has no revision 'v9'"),
        ("gated", "owner/gated: access on the hub is restricted"),
        ("empty", "owner/empty: the hub's repository holds no DiT"),
        ("files", "owner/files: the hub's repository holds no DiT of diffusers' layout: give one of its files"),
        ("files as vae", "owner/files: holds no autoencoder (config.json and weights): give one of its files"),
        ("no vae", "owner/empty: holds no autoencoder"),
    ],
)
def test_what_the_hub_does_not_have_is_said(online: dict[str, Result], case: str, words: str) -> None:
    assert str(online[case]["error"]).startswith(words)


def test_offline_opens_what_was_downloaded_and_refuses_the_rest(
    online: dict[str, Result], hub: FakeHub, home: Path
) -> None:
    assert online
    before = len(hub.requests)
    cases = ("dit", "owner/whole", None), ("dit", "owner/both", None), ("dit", "owner/whole", "v1")
    known, unknown, tag = ask(home, hub.url, *cases, HF_HUB_OFFLINE="1")
    assert known == online["whole"]
    assert tag == online["tag"]
    assert str(unknown["error"]).startswith("owner/both: HF_HUB_OFFLINE is set and no whole copy is on this machine")
    assert len(hub.requests) == before


def test_an_unreachable_hub_falls_back_to_the_copy_and_refuses_the_rest(online: dict[str, Result], home: Path) -> None:
    with FakeHub({}, {}) as gone:
        pass
    known, unknown = ask(home, gone.url, ("dit", "owner/whole", None), ("dit", "owner/other", None))
    assert known == online["whole"]
    assert str(unknown["error"]).startswith(
        "owner/other: the hub cannot be reached and no whole copy is on this machine"
    )


@pytest.mark.parametrize("text", ["facebook/DiT-XL-2-256", "a/b@main", "a/b@refs/pr/3", "stabilityai/sd-vae-ft-ema"])
def test_a_hub_id_is_known(text: str) -> None:
    assert is_hub_id(text)


@pytest.mark.parametrize(
    "text", ["a", "/a/b", "./a", "../a", "a/b/c", "a/b.pt", "a/b.safetensors", "a/..", "~/b", "a/b@", ""]
)
def test_a_path_is_no_hub_id(text: str) -> None:
    assert not is_hub_id(text)


def test_two_different_revisions_at_once_are_refused() -> None:
    with pytest.raises(CheckpointError, match="leave one out"):
        fetch_dit("a/b@v1", "v2")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a/b: no space left for the download: make room"),
        (RuntimeError("task failed: No space left on device (os error 28)"), "a/b: no space left for the download"),
        (TimeoutError("too slow"), "a/b: the download failed (TimeoutError: too slow): try again"),
    ],
)
def test_a_download_that_fails_is_said(monkeypatch: pytest.MonkeyPatch, error: Exception, words: str) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("dit_serve.models.checkpoints.hub.snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        fetch_dit("a/b")
    assert str(caught.value).startswith(words)


def test_fetch_vae_takes_a_folder_or_the_vae_in_a_pipelines_folder(folders: dict[str, Path]) -> None:
    assert fetch_vae(folders["owner/vae"]) == folders["owner/vae"]
    assert fetch_vae(str(folders["owner/whole"])) == folders["owner/whole"] / "vae"
    file = folders["owner/vae"] / f"{WEIGHTS}.safetensors"
    assert fetch_vae(file) == file


def test_fetch_vae_says_which_files_of_a_folder_may_be_given(tmp_path: Path) -> None:
    for name in ("vae-ft.ckpt", "vae-ft.safetensors", "README.md"):
        (tmp_path / name).write_text("x")
    with pytest.raises(CheckpointError, match=r"give one of its files, downloaded: vae-ft\.safetensors, vae-ft\.ckpt"):
        fetch_vae(tmp_path)


def test_fetch_vae_refuses_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        fetch_vae(tmp_path / "none")
