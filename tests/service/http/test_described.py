"""What /openapi.json says is true of every answer: Schemathesis asks for what it allows, and for what it forbids.

All its checks are on: no undocumented status, media type, header or body; what the description allows is served, what
it forbids is refused, and so are methods that are not there. `DESCRIBED_TIMES` multiplies the number of requests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.http.described import Schema, is_made_late, narrowed, operations, without
from tests.service.running import PATIENCE_SECONDS, Running, clean_environment, fake_command, running

TIMES = int(os.environ.get("DESCRIBED_TIMES", "1"))
SEED = int(os.environ.get("DESCRIBED_SEED", "1"))
EXAMPLES = 6 * TIMES  # for each operation, beside those that its schema leads to by itself
NAMES = [name for k in range(50) for name in (f"class {k}", f"kind {k}")]
INFER = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
INPUTS = [  # no schema can say that a tensor has as many elements as its shape
    [{"name": "class_id", "shape": [2], "datatype": "INT64", "data": [7, 49]}],
    [{"name": "label", "shape": [1, 1], "datatype": "BYTES", "data": ["kind 7"]}],
]
OUTPUTS = [[{"name": "image"}], [{"name": "png", "parameters": {"binary_data": True}}, {"name": "seed"}]]
OF_THE_MODEL: dict[str, Schema] = {
    "class_id": {"maximum": 49},
    "class": {"enum": NAMES},
    "steps": {"maximum": 50},
    "num_inference_steps": {"maximum": 50},
    "model": {"enum": ["fake-64"]},
    "resolution": {"enum": [64]},
    "sampler": {"enum": ["ddim", "ddpm", "dpm++"]},
    "width": {"enum": [64]},
    "height": {"enum": [64]},
    "weights": {"enum": ["00000000"]},
    "scheduler": {"enum": ["ddim", "ddpm", "dpm++", "DDIMScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler"]},
    "name": {"enum": ["fake-64"]},
    "version": {"enum": ["1"]},
    "/ inputs": {"enum": NAMES},
    "/models/{name} inputs": {"enum": NAMES},
    "prompt": {"enum": [*NAMES, "7", "49"]},
    "size": {"enum": ["auto", "64x64"]},
    "model_name": {"enum": ["fake-64"]},
    **{f"{path} inputs": {"enum": INPUTS} for path in INFER},
    **{f"{path} outputs": {"enum": OUTPUTS} for path in INFER},
    "preview_every": {"maximum": 0},  # previews are for who asks for a stream, and Schemathesis accepts everything
}
KEY = "k" * 32
SAID_ELSEWHERE = (  # no schema can say that two parameters must agree
    "deadline_ms",  # the header is X-Deadline-Ms
    "timeout",  # the same
    "target_size",  # width and height are beside it
    "/models/{name} model",  # the path has it
    "Inference-Header-Content-Length",  # of a body that is not JSON alone
)
WITH_KEYS = f"""
[auth.openapi.bearer]
bearer = "{KEY}"
[auth.openapi.key]
api_key = "{KEY}"
"""
MADE_LATE = """
[[operations]]
include-name = "{method} {path}"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503", "504"]  # a deadline may be a millisecond
checks.positive_data_acceptance.expected-statuses = ["2xx", "429", "503", "504"]
"""
BYTES = "missing_deserializer"  # answers that are no JSON; said where they are documented as more than that


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    command = fake_command(models="fake-64")
    command[2] = "tests.service.http.serve_hostile"
    with running(command, DIT_API_KEYS=KEY) as server:
        yield server


@pytest.fixture
def document(server: Running) -> Schema:
    with server.client(headers={"Authorization": f"Bearer {KEY}"}) as client:
        described: Schema = client.get("/openapi.json").json()
    return described


def test_every_answer_is_as_the_description_says(server: Running, document: Schema, tmp_path: Path) -> None:
    told = without(narrowed(document, OF_THE_MODEL), SAID_ELSEWHERE)
    report, text = schemathesis(server, told, tmp_path)
    assert report["exit_code"] == 0, text
    assert {name for name, phases in report["valid_rates"].items() if accepted(phases)} == {
        f"{method} {path}" for method, path in operations(document)
    }
    assert report["operations"]["tested"] == report["operations"]["total"] == len(operations(document))
    assert {kind for kind, told in report["warnings"].items() if told} <= {BYTES}, text


def test_what_the_description_conceals_is_found(server: Running, document: Schema, tmp_path: Path) -> None:
    concealed = narrowed(document, OF_THE_MODEL)
    del concealed["paths"]["/v1/classes"]["get"]["responses"]["422"]
    report, _ = schemathesis(server, concealed, tmp_path, "--include-path", "/v1/classes", "--phases", "coverage")
    assert [failure["type"] for failure in report["failures"]] == ["UndefinedStatusCode"]


def schemathesis(server: Running, document: Schema, folder: Path, *more: str) -> tuple[dict[str, Any], str]:
    """Its report on a server that this document describes, and what it told."""
    late = [each for each in operations(document) if is_made_late(document, *each)]
    config = [MADE_LATE.format(method=method, path=path) for method, path in late]
    (folder / "schemathesis.toml").write_text(WITH_KEYS + "".join(config))
    (folder / "described.json").write_text(json.dumps(document))
    flags = ["--url", server.url, "--seed", str(SEED), "--max-examples", str(EXAMPLES), "--continue-on-failure"]
    flags += ["--generation-database", "none", "--no-color", "--report", "json", "--report-json-path", "report.json"]
    ended = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", "described.json", *flags, *more], cwd=folder, check=False,
        env=clean_environment() | {"NO_PROXY": "*"}, capture_output=True, text=True, timeout=PATIENCE_SECONDS * TIMES,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report, ended.stdout + ended.stderr


def accepted(phases: dict[str, dict[str, int]]) -> int:
    """How many requests that the description allows were served."""
    return sum(rates["accepted"] for rates in phases.values())
