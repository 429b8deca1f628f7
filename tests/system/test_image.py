"""docker/Dockerfile, built with buildah and run with podman as it is meant to be: as nobody, nothing to write on."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.service.running import PATIENCE_SECONDS, Running, free_port
from tests.system.containers import BUILD_BASE, IMAGE, TOOLS, Containers, run
from tests.system.prometheus import until

pytestmark = pytest.mark.system

HARDENED = ("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp", "--cap-drop", "all",
            "--security-opt", "no-new-privileges")
SEVEN = {"class_id": 7, "cfg": 4, "steps": 20, "seed": 1}
COMPILERS = ("cc", "gcc", "g++", "c++", "clang", "tcc", "as", "ld", "make", "pip", "curl", "wget")

# The module that calls the CUDA driver is linked with it. Here is none: an empty library bears its name, and what the
# module would call is looked up when it is called.
LOAD_CUDA_UTILS = """
import os, sys
from triton.backends.nvidia import driver
sys.setdlopenflags(os.RTLD_LAZY)
driver.libcuda_dirs = lambda: []
print(driver.CudaUtils().load_binary)
"""


@pytest.fixture(scope="module")
def built(containers: Containers) -> Containers:
    """The storage, with the image in it."""
    containers.build_service()
    return containers


@contextmanager
def served(containers: Containers, name: str) -> Iterator[Running]:
    """The image in a container, ready; the process is podman's, which passes signals, log and status on."""
    port = free_port()
    command = ["podman", "run", "--rm", "--name", name, *HARDENED, "--publish", f"127.0.0.1:{port}:8000", IMAGE,
               "serve", "--models", "digits-64"]
    server = Running(command, containers.environment)
    try:
        server.wait_until_listening()
        server.port = port
        until(lambda: httpx.get(f"{server.url}/readyz", trust_env=False).is_success, "a container that is ready")
        yield server
    finally:
        if server.process.poll() is None:
            containers.podman("rm", "--force", "--time", "0", name)
        server.finish()
        assert server.process.stderr is not None
        server.process.stderr.close()


def inside(containers: Containers, name: str, *command: str) -> str:
    return containers.podman("exec", name, *command)


def test_a_hardened_container_generates_an_image_as_uid_10001_and_is_healthy(built: Containers) -> None:
    with served(built, "generates") as server:
        answer = httpx.post(f"{server.url}/generate", json=SEVEN, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text
        assert Image.open(io.BytesIO(answer.content)).size == (64, 64)

        assert inside(built, "generates", "id", "-u").strip() == "10001"
        status = inside(built, "generates", "cat", "/proc/1/status")
        assert "CapEff:\t0000000000000000\n" in status
        assert "CapBnd:\t0000000000000000\n" in status
        assert "NoNewPrivs:\t1\n" in status
        run(["podman", "exec", "generates", "touch", "/opt/dit/x"], built.environment, status=1)
        built.podman("healthcheck", "run", "generates")
        elsewhere = ["podman", "exec", "--env", "DIT_PORT=9", "generates", "dit", "health"]
        run(elsewhere, built.environment, status=1)


def test_sigterm_finishes_the_image_in_flight_and_ends_with_0(built: Containers) -> None:
    with served(built, "stops") as server:
        stream = {"accept": "text/event-stream"}
        with httpx.stream("POST", f"{server.url}/generate", json=SEVEN | {"steps": 1000}, headers=stream,
                          timeout=PATIENCE_SECONDS) as answer:
            lines = answer.iter_lines()
            assert "event: progress" in lines
            server.process.send_signal(signal.SIGTERM)
            assert "event: completed" in lines
        assert server.finish() == 0
        assert any(line.get("event") == "draining" for line in server.seen)


def test_the_image_has_no_compiler_and_no_tool_that_loads_things(built: Containers) -> None:
    script = f"for name in {' '.join(COMPILERS)}; do command -v $name; done; true"
    assert built.podman("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", script) == ""


def test_triton_finds_its_driver_module_compiled_although_the_cache_is_empty(built: Containers, tmp_path: Path) -> None:
    mounted = ("--volume", f"{tmp_path}:/driver")
    library = ("-shared", "-Wl,-soname,libcuda.so.1", "-o", "/driver/libcuda.so.1", "-x", "c", "/dev/null")
    built.podman("run", "--rm", *mounted, BUILD_BASE, "gcc", *library)
    python = ("--env", "LD_LIBRARY_PATH=/driver", "--entrypoint", "python3", IMAGE)
    said = built.podman("run", "--rm", *HARDENED, *mounted, *python, "-c", LOAD_CUDA_UTILS)
    assert "load_binary" in said


def test_the_image_says_what_it_is_and_how_it_is_run(built: Containers) -> None:
    config = json.loads(built.podman("image", "inspect", IMAGE))[0]
    assert config["User"] == "10001:10001"
    assert config["Config"]["Entrypoint"] == ["dit"]
    assert config["Config"]["StopSignal"] == "SIGTERM"
    assert config["Config"]["Volumes"] == {"/cache": {}}
    assert config["Healthcheck"]["Test"] == ["CMD", "dit", "health"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert run([str(TOOLS / "hadolint"), "docker/Dockerfile"]) == ""
