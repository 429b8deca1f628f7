"""What a child process is given of this one's environment: what it starts and computes with, and nobody's secrets.

Both lists name what is passed, so that whatever else an operator has there (keys of the service, credentials of a
cloud) stays in the process that was given it. A worker may have to download a model, so it is given the hub's token and
the proxies; what opens a file of a stranger is given neither. Whoever comes to need a variable more adds it here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_INTERPRETER = frozenset(
    {"PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "WINDIR", "USERPROFILE", "VIRTUAL_ENV", "TZ"}
)
_INTERPRETER_PREFIXES = ("LC_", "LD_", "DYLD_", "PYTHON", "OMP_", "MKL_", "KMP_")

_WORKER = frozenset(
    {
        "DIT_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "USER", "LOGNAME",
        "CC", "CXX", "CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH",
        "HF_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN", "DO_NOT_TRACK",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    }
)  # fmt: skip
_WORKER_PREFIXES = (
    "GOMP_", "GOTO_", "OPENBLAS_", "VECLIB_", "NUMEXPR_", "MALLOC_", "GLIBC_", "JEMALLOC_",
    "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "DIFFUSERS_", "TRANSFORMERS_", "SAFETENSORS_", "HF_HUB_",
    "CUDA_", "CUDNN_", "CUBLAS_", "CUBLASLT_", "CUTLASS_", "NVIDIA_", "NCCL_",
    "HIP_", "HIPBLASLT_", "HSA_", "ROCM_", "ROCR_", "ROCBLAS_", "MIOPEN_", "AMD_", "GPU_",
)  # fmt: skip

_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL")  # NVIDIA_API_KEY and LD_SDK_KEY are of no library


def interpreter_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Of these variables those that an interpreter and its libraries need to start; these packages are on its path."""
    return _passed(environment, _INTERPRETER, _INTERPRETER_PREFIXES)


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Those, and what loading a model and computing with it depend on: devices, compilers, caches, the hub."""
    return _passed(environment, _INTERPRETER | _WORKER, (*_INTERPRETER_PREFIXES, *_WORKER_PREFIXES))


def _passed(environment: Mapping[str, str], names: frozenset[str], prefixes: tuple[str, ...]) -> dict[str, str]:
    passed = {
        name: text
        for name, text in environment.items()
        if name in names or (name.startswith(prefixes) and not _SECRET.search(name))
    }
    here = str(Path(__file__).resolve().parent.parent)  # wherever they are installed
    return {**passed, "PYTHONPATH": os.pathsep.join(filter(None, (here, passed.get("PYTHONPATH"))))}
