"""What tests on a card do to the whole process, and put back whatever happens, so that no test spoils another."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def no_waiting() -> Iterator[None]:
    """Any copy or read that waits for the card raises."""
    try:
        _set_sync_debug_mode("error")
        yield
    finally:
        _set_sync_debug_mode("default")


@contextmanager
def settled() -> Iterator[None]:
    """At the end the card has done all its work, so that what fails in it is told here, on the stream of the start."""
    stream = torch.cuda.current_stream()
    try:
        yield
    finally:
        torch.cuda.set_stream(stream)
        torch.cuda.synchronize()


def _set_sync_debug_mode(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype feature")
        torch.cuda.set_sync_debug_mode(mode)
