#!/bin/sh
# Measures everything on the GPU of this machine, within ten minutes, and writes gpu-DATE.{md,json,log} into the folder
# that --out names, else $OUT, else benchmarks/results. Needs torch, triton, diffusers, safetensors, numpy and
# huggingface_hub, for three sections the service's packages; no network, no checkpoint. With --device cpu a dry run.
# PYTHON names another interpreter than the repository's own or the path's first.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
exec "$python" -m benchmarks.gpu "$@"
