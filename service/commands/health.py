"""Asks the service that runs on this machine, or in this container, whether it is ready: status 0 if it is, else 1.

Where it listens is read from the variables that it was started with, DIT_HOST and DIT_PORT. For the health check of a
container, or a probe that runs a command.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys

from dit_serve.service.errors import SettingsError
from dit_serve.service.settings import read_settings

PATH = "/readyz"
SECONDS = 4.0
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1"}  # listening on all, reached by the loopback
MOST_BYTES = 4096  # of the reason, which is a problem document


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(options: argparse.Namespace) -> int:
    """Prints why it is not ready, if it is not."""
    try:
        settings = read_settings(os.environ, {})
    except SettingsError as error:
        return _no(str(error))
    if not settings.port:
        return _no("DIT_PORT is 0, so nobody knows where the service listens; give it a port")
    return ask(ANY_ADDRESS.get(settings.host, settings.host), settings.port)


def ask(host: str, port: int) -> int:
    """0 if the service there is ready, else 1."""
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)  # which takes no proxy from the environment
    try:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        reason = answer.read(MOST_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return _no(f"no answer from {host}, port {port}: {str(error) or type(error).__name__}")
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else _no(reason)


def _no(reason: str) -> int:
    print(f"dit health: {reason}", file=sys.stderr)
    return 1
