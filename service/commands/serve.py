"""Answers HTTP requests: POST /generate {"class_id": 7, "cfg": 4, "steps": 20} gives a PNG.

Every flag can be set by a DIT_* variable too; a flag wins.
"""

from __future__ import annotations

import argparse
import os
import sys

from dit_serve.service.environment import injected
from dit_serve.service.errors import CommandError
from dit_serve.service.http.server import run as run_server
from dit_serve.service.settings import add_flags, read_settings

LOADER = "dit_serve.models.pipeline:load_pipeline"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag per setting."""
    add_flags(parser)


def run(options: argparse.Namespace, loader: str = LOADER) -> int:
    """Serves until a signal.

    Raises:
        CommandError: this system has no signals and no sockets of the kind that workers are held by.
    """
    if sys.platform == "win32":
        raise CommandError("runs on Linux and macOS: on Windows use WSL or the container; dit generate works here")
    return run_server(read_settings(os.environ, vars(options)), loader, injected(os.environ))
