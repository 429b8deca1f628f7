"""A server as operators set it up for other people's tools."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.running import Running, fake_command, running

KEY = "a-key-of-the-tests"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
SLASHED = "facebook/DiT-XL-2-64"  # a fake one, called as on the hub


@pytest.fixture(scope="package")
def guarded() -> Iterator[Running]:
    """With a key, an alias, a name with a slash, prompts in phrases, and a queue of one request's length."""
    flags = ("--model-aliases", f"gpt-image-1={SLASHED}", "--max-queue-sequences", "32", "--prompts", "phrase")
    with running(fake_command(*flags, models=f"{SLASHED},fake-128"), DIT_API_KEYS=KEY) as server:
        yield server
