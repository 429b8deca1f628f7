"""The commands that the manual shows are run as they stand there, against one real server.

A block that cannot run here has a comment in the line before it, which readers of the page do not see:

    <!-- not run: needs a model hub -->

Each other block runs in an empty folder of its own, by a shell that stops at the first failure. An HTTP error is one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import MANUAL, Block, blocks, name_of
from tests.service.running import PATIENCE_SECONDS, clean_environment, running

BIN = Path(sys.executable).parent
MANUAL_ADDRESS = "127.0.0.1:8000"
CURL_SETTINGS = 'fail\nshow-error\nnoproxy = "*"\n'
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

SHOWN = [block for path in MANUAL for block in blocks(path.read_text(encoding="utf-8"), name_of(path))]
COMMANDS = [block for block in SHOWN if block.language == "sh"]
MARKED = [block for block in SHOWN if block.language in ("sh", "python") and block.reason]
LEFT_OUT = [block for block in MARKED if block.language == "python"]
RUN = [block for block in SHOWN if block.language in ("sh", "python") and not block.reason]


def title(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a server with the demo models listens."""
    flags = ("--port", "0", "--metrics-port", "0", "--devices", "cpu", "--standby", "false")
    with running([str(BIN / "dit"), "serve", *flags]) as server:
        yield server.url.removeprefix("http://")


def carry_out(block: Block, address: str, folder: Path) -> None:
    """Runs a block in a folder; checks its exit status, and that the images that it leaves are PNGs."""
    text = block.text.replace(MANUAL_ADDRESS, address).replace(".venv/bin/", f"{BIN}/")
    shell = ["bash", "-e", "-u", "-o", "pipefail", "-c"]
    command = [*shell, text] if block.language == "sh" else [sys.executable, "-c", text]
    (folder / ".curlrc").write_text(CURL_SETTINGS)
    places = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "CURL_HOME": str(folder), "DIT_CACHE": str(folder)}
    ended = subprocess.run(
        command, cwd=folder, env=clean_environment() | places, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 0, f"{title(block)}: status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    for path in folder.rglob("*.png"):
        assert path.read_bytes().startswith(PNG_SIGNATURE), f"{title(block)}: {path.name} is no PNG"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("block", RUN, ids=map(title, RUN))
def test_what_the_manual_shows_works(block: Block, address: str, tmp_path: Path) -> None:
    carry_out(block, address, tmp_path)


@pytest.mark.parametrize("block", COMMANDS, ids=map(title, COMMANDS))
def test_commands_are_whole(block: Block) -> None:
    """Those that are not run are at least a shell's words."""
    subprocess.run(["bash", "-n", "-c", block.text], check=True)


def test_every_mark_belongs_to_commands() -> None:
    marks = sum(path.read_text(encoding="utf-8").count("<!-- not run") for path in MANUAL)
    assert marks == len(MARKED)


@pytest.mark.parametrize("block", LEFT_OUT, ids=map(title, LEFT_OUT))
def test_python_that_is_not_run_is_python_at_least(block: Block) -> None:
    compile(block.text, title(block), "exec")


def test_the_manual_asks_by_http_on_the_command_line_and_in_python() -> None:
    assert any("curl" in block.text for block in RUN)
    assert any("dit generate" in block.text for block in RUN)
    assert {block.language for block in RUN} == {"sh", "python"}


def test_a_mark_counts_for_the_block_after_it_alone() -> None:
    text = "<!-- not run: needs a card -->\n```sh\na\n```\n<!-- not run: -->\n```sh\nb\nc\n```\n"
    assert list(blocks(text, "x")) == [Block("x", 2, "sh", "a", "needs a card"), Block("x", 6, "sh", "b\nc", "")]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("sh", "false\ntrue"),
        ("sh", "false | true"),
        ("sh", "dit no-such-command"),
        ("sh", "printf '{}' > seven.png"),
        ("python", "import dit_serve.nothing"),
    ],
)
def test_what_does_not_work_is_found(language: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        carry_out(Block("x", 1, language, text, ""), "", tmp_path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_an_http_error_is_a_failure(address: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        carry_out(Block("x", 1, "sh", "curl -s http://127.0.0.1:8000/nowhere", ""), address, tmp_path)
