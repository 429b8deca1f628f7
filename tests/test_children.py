"""What child processes are given of the environment: enough, and no secret."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from dit_serve.children import interpreter_environment, worker_environment
from dit_serve.service.workers.standby import Standby
from tests.service.running import ROOT

SECRETS = {
    "DIT_API_KEYS": "key", "DIT_API_KEYS_FILE": "/run/secrets/keys", "AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "s",
    "PGPASSWORD": "s", "AZURE_CLIENT_SECRET": "s", "OPENAI_API_KEY": "s", "GOOGLE_APPLICATION_CREDENTIALS": "/x",
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=s", "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "NVIDIA_API_KEY": "s", "LD_SDK_KEY": "s",
}  # fmt: skip
OF_THE_HUB = {"HF_TOKEN": "hf_s", "HTTPS_PROXY": "http://user:s@proxy", "https_proxy": "http://user:s@proxy"}
OF_COMPUTING = {
    "CUDA_VISIBLE_DEVICES": "1", "NVIDIA_TF32_OVERRIDE": "0", "HIP_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "1",
    "GOMP_SPINCOUNT": "7", "OPENBLAS_NUM_THREADS": "1", "PYTORCH_CUDA_ALLOC_CONF": "x", "TORCHINDUCTOR_CACHE_DIR": "/c",
    "HF_HOME": "/c", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "DIT_CACHE": "/c", "XDG_CACHE_HOME": "/c",
    "CC": "gcc", "MALLOC_ARENA_MAX": "2", "REQUESTS_CA_BUNDLE": "/ca", "CUBLASLT_WORKSPACE_SIZE": "1",
}  # fmt: skip
OF_AN_INTERPRETER = {
    "PATH": "/bin", "HOME": "/root", "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "TMPDIR": "/tmp",
    "LD_LIBRARY_PATH": "/lib", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "KMP_BLOCKTIME": "0",
}  # fmt: skip
ALL = SECRETS | OF_THE_HUB | OF_COMPUTING | OF_AN_INTERPRETER


def test_who_opens_a_strangers_file_is_given_what_an_interpreter_needs() -> None:
    assert interpreter_environment(ALL) == {**OF_AN_INTERPRETER, "PYTHONPATH": str(ROOT)}


def test_a_worker_is_given_what_computing_and_downloading_need_besides() -> None:
    given = {**OF_AN_INTERPRETER, **OF_COMPUTING, **OF_THE_HUB, "PYTHONPATH": str(ROOT)}
    assert worker_environment(ALL) == given


def test_these_packages_come_first_on_a_path_that_is_there_already() -> None:
    assert worker_environment({"PYTHONPATH": "/mine"})["PYTHONPATH"] == f"{ROOT}{os.pathsep}/mine"


@pytest.mark.skipif(sys.platform != "linux", reason="reads the environment from /proc")
def test_the_processes_that_stand_by_and_work_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in ALL.items():
        monkeypatch.setenv(name, text)

    async def run() -> bytes:
        standby = Standby([sys.executable, "-c", "import sys; open(int(sys.argv[1])).read()", "{fd}"])
        child = await standby.take()
        try:
            return Path(f"/proc/{child.pid}/environ").read_bytes()
        finally:
            await child.end()

    names = {variable.partition(b"=")[0].decode() for variable in asyncio.run(run()).split(b"\0")}
    assert not names & SECRETS.keys()
    assert names >= OF_THE_HUB.keys()
