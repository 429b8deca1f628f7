"""A worker gives back what it does not need once nothing comes."""

from __future__ import annotations

import logging
import queue

import pytest

from dit_serve.service.engine.engine import Cancel
from dit_serve.service.workers.rest import RestingInbox, give_back
from tests.service.fake import FakeDoor


class Door(FakeDoor):
    """Counts how often it rests, and sends what ends the waiting."""

    def __init__(self, inbox: RestingInbox | None = None) -> None:
        super().__init__()
        self.rests = 0
        self._inbox = inbox

    def rest(self) -> None:
        self.rests += 1
        if self._inbox is not None:
            self._inbox.put(Cancel(self.rests))


def test_an_inbox_in_which_nothing_comes_rests_and_goes_on_waiting() -> None:
    inbox = RestingInbox(seconds=0)
    door = Door(inbox)
    inbox.rest = lambda: give_back([door])
    assert [inbox.get(), inbox.get()] == [Cancel(1), Cancel(2)]
    assert door.rests == 2


def test_what_is_there_is_taken_without_rest() -> None:
    inbox = RestingInbox(seconds=0)
    door = Door()
    inbox.rest = door.rest
    inbox.put(Cancel(1))
    assert inbox.get() == Cancel(1)
    with pytest.raises(queue.Empty):
        inbox.get(block=False)
    assert door.rests == 0


def test_a_rest_that_fails_harms_no_work(caplog: pytest.LogCaptureFixture) -> None:
    inbox = RestingInbox(seconds=0)

    def fail() -> None:
        inbox.put(Cancel(7))
        raise MemoryError

    inbox.rest = fail
    with caplog.at_level(logging.WARNING, "dit.worker"):
        assert inbox.get() == Cancel(7)
    assert "memory could not be given back" in caplog.text


def test_all_models_rest() -> None:
    doors = [Door(), Door()]
    give_back(doors)
    assert [door.rests for door in doors] == [1, 1]
