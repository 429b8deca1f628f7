"""buildah and podman with a configuration and a storage of their own, and the images that the tests run.

No registry of images is asked. The base images are made with debootstrap (Debian 12 has the Python that the Dockerfile
names), those of nginx and Prometheus from Debian's packages; they bear the names that docker-compose.yml asks for. The
wheels come from wherever the pip of this machine takes them. What is slow to make and stays the same is kept in
build/system.

A container runtime that is not permitted here fails the tests, with its own words: nothing is skipped.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "system"
TOOLS = KEPT / "tools" / "bin"
PATIENCE_SECONDS = 1200  # for a machine that is busy with other work; nothing waits for it to pass

BASE, BUILD_BASE, IMAGE = "localhost/base", "localhost/build-base", "dit-serve:cpu"
BUILD = ("buildah", "build", "--format", "docker")  # the other format has no health checks
SUITE = "bookworm"
PACKAGES = "--include=python3,ca-certificates"
NGINX, PROMETHEUS = "docker.io/library/nginx:1.28-alpine", "docker.io/prom/prometheus:v3.5.0"

APT = "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends"
WGET = "busybox && ln -s /bin/busybox /usr/local/bin/wget"  # for the health checks
RECIPES = {
    BASE: "FROM scratch\nADD base.tar /\n",
    BUILD_BASE: f"FROM {BASE}\n{APT} gcc libc6-dev python3-dev python3-venv\n",
    NGINX: f"FROM {BASE}\n{APT} nginx-light {WGET}\n",
    PROMETHEUS: f"FROM {BASE}\n{APT} {WGET}\n"
    "RUN cd /tmp && apt-get download -qq prometheus && dpkg --extract prometheus_*.deb /opt && rm prometheus_*.deb\n"
    'RUN install -d -o 65534 -g 65534 /prometheus\nUSER 65534\nENTRYPOINT ["/opt/usr/bin/prometheus"]\n',
}

# cgroupfs and the file of events: there need not be a systemd. runc: crun refuses mixed cgroups. Limits: to raise them
# is not permitted everywhere.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{run}/engine"
[network]
network_backend = "netavark"
network_config_dir = "{run}/networks"
"""
STORAGE_CONF = """
[storage]
driver = "{driver}"
graphroot = "{storage}"
runroot = "{run}/storage"
"""


class Containers:
    """One storage of images and containers; `end` leaves nothing of it.

    Attributes:
        environment: the variables with which any tool of containers uses it.
    """

    def __init__(self) -> None:
        KEPT.mkdir(parents=True, exist_ok=True)
        self._run = Path(tempfile.mkdtemp(prefix="dit-system-"))  # short: sockets lie below
        self._storage = Path(tempfile.mkdtemp(prefix="storage-", dir=KEPT))
        driver = "overlay" if _can_overlay(self._storage) else "vfs"
        conf, storage_conf = self._run / "containers.conf", self._run / "storage.conf"
        conf.write_text(CONTAINERS_CONF.format(run=self._run))
        storage_conf.write_text(STORAGE_CONF.format(driver=driver, storage=self._storage, run=self._run))
        self.environment = os.environ | {
            "CONTAINERS_CONF": str(conf),
            "CONTAINERS_STORAGE_CONF": str(storage_conf),
            "BUILDAH_ISOLATION": "chroot",
        }

    def podman(self, *arguments: str) -> str:
        """What podman says."""
        return run(["podman", *arguments], self.environment)

    @functools.cache  # noqa: B019 - as many as there are images, for as long as the tests run
    def build(self, name: str) -> None:
        """Makes one of RECIPES."""
        if name == BASE:
            _base_tar()
        else:
            self.build(BASE)
        with tempfile.NamedTemporaryFile("w", suffix=".Containerfile") as recipe:
            recipe.write(RECIPES[name])
            recipe.flush()
            context = KEPT / "base"
            run([*BUILD, "--network", "host", "--tag", name, "--file", recipe.name, str(context)], self.environment)

    @functools.cache  # noqa: B019
    def build_service(self) -> None:
        """Makes docker/Dockerfile's image with the processor's torch, without the network."""
        self.build(BUILD_BASE)
        options = {"BASE": BASE, "BUILD_BASE": BUILD_BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        arguments = [word for name, value in options.items() for word in ("--build-arg", f"{name}={value}")]
        run([*BUILD, "--tag", IMAGE, "--volume", f"{_wheels()}:/wheels:ro", *arguments,
             "--file", str(ROOT / "docker" / "Dockerfile"), str(ROOT)], self.environment)

    def end(self) -> None:
        """Ends all containers and deletes everything."""
        self.podman("rm", "--all", "--force", "--time", "0")
        self.podman("system", "reset", "--force")
        shutil.rmtree(self._storage, ignore_errors=True)
        shutil.rmtree(self._run, ignore_errors=True)


def run(command: list[str], environment: dict[str, str] | None = None, *, status: int = 0) -> str:
    """The standard output of a command that must end with this status.

    Raises:
        AssertionError: it did not; with what it said.
    """
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == status, f"{' '.join(command)} ended with {done.returncode}:\n{said}"
    return done.stdout


def _can_overlay(folder: Path) -> bool:
    """Whether a file system may be laid over another here; without, every image is a full copy."""
    for name in ("lower", "upper", "work", "merged"):
        (folder / "probe" / name).mkdir(parents=True)
    probe = folder / "probe"
    options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(probe / "merged")]
    is_mounted = subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    if is_mounted:
        run(["umount", str(probe / "merged")])
    shutil.rmtree(probe)
    return is_mounted


def _base_tar() -> None:
    """Makes build/system/base/base.tar, a Debian with Python, unless it is there."""
    target = KEPT / "base" / "base.tar"
    if target.exists():
        return
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as folder:
        run(["debootstrap", "--variant=minbase", PACKAGES, SUITE, f"{folder}/root"])
        for package in Path(folder, "root/var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        with tarfile.open(f"{folder}/base.tar", "w") as archive:
            archive.add(f"{folder}/root", arcname=".")
        os.replace(f"{folder}/base.tar", target)


def _wheels() -> Path:
    """The folder of all wheels that the image is made of, for the Python of the base."""
    folder = KEPT / "wheels"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--python-version", "3.11", "--only-binary", ":all:",
             "--dest", str(folder)]
    run([*fetch, "--require-hashes", "--requirement", "requirements.lock"])
    run([*fetch, "--constraint", "constraints.txt", f"torch=={importlib.metadata.version('torch')}"])
    return folder
