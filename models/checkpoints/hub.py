"""Checkpoints of a model hub: which files are wanted, and what is said when they cannot be had.

huggingface_hub does the work: it resumes broken downloads, shows progress, and honours HF_HUB_OFFLINE, HF_ENDPOINT
and HF_HOME. A revision is resolved to a commit when the configs are fetched, and the weights are of that commit. Only
configs and weights are downloaded, never code, and of several ways in which the weights are stored only one.

Knows no contents of files.
"""

from __future__ import annotations

import errno
import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dit_serve.models.checkpoints.components.component_weights import (
    ENDINGS,
    PREFERRED,
    WEIGHTS,
    WEIGHTS_ENDINGS,
    Stored,
)
from dit_serve.models.checkpoints.files import reason
from dit_serve.models.checkpoints.nearest import hint
from dit_serve.models.errors import CheckpointError, listed
from dit_serve.models.options import expanded

_ID = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*(@[\w.\-/]+)?")
_PIPELINE = ("model_index.json", "transformer/config.json", "scheduler/scheduler_config.json", "vae/config.json")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The wanted files of a repository at one commit, on this machine."""

    folder: Path
    repository: str
    commit: str


def is_hub_id(text: str) -> bool:
    """Whether text can name a hub's repository: owner/name or owner/name@revision."""
    return _ID.fullmatch(text) is not None and not text.endswith((*WEIGHTS_ENDINGS, ".json")) and ".." not in text


def fetch_dit(hub_id: str, revision: str | None = None) -> Snapshot:
    """Return a DiT's folder from the hub, or from the hub's cache on this machine.

    Args:
        hub_id: owner/name, or owner/name@revision.
        revision: branch, tag or commit; the default branch when None.

    Raises:
        CheckpointError: no such repository or revision, no access, no network and no copy, no space, or no DiT in it.
    """
    repository, revision = _split(hub_id, revision)
    folder = _download(repository, revision, [*_PIPELINE, "config.json"])
    components = ["transformer/", "vae/"] if (folder / "model_index.json").exists() else [""]
    if not (folder / components[0] / "config.json").exists():
        files = _single_files(_listing(repository, folder.name))
        raise CheckpointError(f"{repository}: the hub's repository holds no DiT of diffusers' layout: {files}")
    _download_weights(repository, folder, [part for part in components if (folder / part / "config.json").exists()])
    return Snapshot(folder, repository, folder.name)


def fetch_vae(path_or_id: str | Path, *, is_asked: bool = True) -> Path:
    """Return an autoencoder's folder (config.json and weights), be it the `vae` of a pipeline's, or its single file.

    Args:
        path_or_id: a folder, a weights file, or a hub id: owner/name, or owner/name@revision.
        is_asked: whether the hub may be; otherwise only what is on this machine already is taken.

    Raises:
        CheckpointError: it is none of them, or cannot be downloaded.
    """
    folder = Path(expanded(str(path_or_id)))
    if folder.is_file():
        return folder
    names = [path.name for path in folder.glob("*")]
    if not folder.exists():
        if not is_hub_id(str(path_or_id)):
            raise CheckpointError(
                f"{path_or_id}: no such file or folder, and no hub id (owner/name): check the path{hint(folder)}"
            )
        repository, revision = _split(str(path_or_id), None)
        configs = ["config.json", "model_index.json", "vae/config.json"]
        folder = _download(repository, revision, configs, is_asked=is_asked)
        part = "vae/" if (folder / "vae" / "config.json").exists() else ""
        if (folder / part / "config.json").exists() and is_asked:
            _download_weights(repository, folder, [part])
        elif is_asked:
            names = _listing(repository, folder.name)
    for found in (folder / "vae", folder):
        if (found / "config.json").exists():
            return found
    files = _single_files(names)
    raise CheckpointError(f"{path_or_id}: holds no autoencoder (config.json and weights): {files}")


def fetch_file(hub_id: str, names: tuple[str, ...]) -> Path:
    """Return the first of these files that a repository has.

    Args:
        hub_id: owner/name, or owner/name@revision.
        names: files, the one that is wanted most first.

    Raises:
        CheckpointError: it has none of them, or cannot be downloaded.
    """
    repository, revision = _split(hub_id, None)
    folder = _download(repository, revision, list(names))
    for name in names:
        if (folder / name).is_file():
            return folder / name
    files = _single_files(_listing(repository, folder.name))
    raise CheckpointError(f"{repository}: the hub's repository has no {' and no '.join(names)}: {files}")


def _single_files(names: list[str]) -> str:
    """What to do with a place that has nothing of diffusers' layout, given the names of its files."""
    files = sorted((name for name in names if name.endswith(WEIGHTS_ENDINGS)), reverse=True)
    return f"give one of its files, downloaded: {listed(files)}" if files else "choose another one"


def _split(hub_id: str, revision: str | None) -> tuple[str, str | None]:
    repository, _, pinned = hub_id.partition("@")
    if pinned and revision is not None and pinned != revision:
        raise CheckpointError(f"{hub_id}: names a revision, and {revision!r} is asked for beside it: leave one out")
    return repository, pinned or revision


def _download_weights(repository: str, folder: Path, components: list[str]) -> None:
    """Download each component's weights of the folder's commit, in the order in which find_weights looks for them."""
    missing, listing = components, None
    for stored in PREFERRED:
        missing = [part for part in missing if not _is_whole(stored, folder / part)]
        listing = _listing(repository, folder.name) if missing and listing is None else listing
        names = [part + name for part in missing for name in (stored.whole, *stored.indexes, *stored.shards)]
        if names := [name for name in names if not listing or fnmatch.filter(listing, name)]:
            _download(repository, folder.name, names)
            missing = [part for part in missing if not _is_whole(stored, folder / part)]
    if missing:  # of a variant that is not known here, or none
        _download(repository, folder.name, [f"{part}{WEIGHTS}*.{end}*" for part in missing for end in ENDINGS])


def _listing(repository: str, commit: str) -> list[str]:
    """The names of a commit's files; none where the hub cannot be asked, and what is on this machine has to do."""
    try:
        return list(HfApi().list_repo_files(repository, revision=commit))
    except Exception:  # as in _download, which says what is wrong
        return []


def _is_whole(stored: Stored, folder: Path) -> bool:
    try:
        return bool(stored.paths(folder))
    except CheckpointError:  # an index without its shards, or some of them
        return False


def _download(repository: str, revision: str | None, names: list[str], *, is_asked: bool = True) -> Path:
    """Return the snapshot's folder with the files of these names or patterns, as far as the repository has them."""
    try:
        local = {} if is_asked else {"local_files_only": True}
        return Path(snapshot_download(repository, revision=revision, allow_patterns=names, **local))
    except Exception as error:  # the library lets its transports' errors through, of several families
        near = hint(repository) if Path(repository).parent.is_dir() else ""  # a path was meant, perhaps
        raise CheckpointError(f"{repository}: {_explained(error, revision)}{near}") from error


def _explained(error: Exception, revision: str | None) -> str:
    if isinstance(error, GatedRepoError):
        return "access on the hub is restricted: accept the model's terms on its page, then log in (`hf auth login`)"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such repository, or it is private: check the name, or log in (`hf auth login`)"
    if isinstance(error, RevisionNotFoundError):
        return f"the hub's repository has no revision {revision!r}: give a branch, tag or commit of it"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return "no space left for the download: make room, or set HF_HOME to a folder on another disk"
    if isinstance(error, LocalEntryNotFoundError):
        if HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set and no whole copy is on this machine: download it once without it"
        return "the hub cannot be reached and no whole copy is on this machine: check the network, or give a folder"
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered with an error ({str(error).partition(chr(10))[0][:200]}): try again later"
    words = reason(error).partition("\n")[0][:200]
    return f"the download failed ({type(error).__name__}: {words}): try again, what is already here is kept"
