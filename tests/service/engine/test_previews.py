"""When a look is taken, and that none of it can harm an image."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from dit_serve.models.options import SampleSpec
from dit_serve.service.engine.previews import Previews
from dit_serve.service.wire.job import Job, Preview
from tests.service.fake import FakeDoor, FakeSample

JOB = Job(1, "r", "fake-64", SampleSpec(0, 0, 10, 4.0, "ddim"), preview_every=3)


class Later:
    """An executor whose work is done when it is told to."""

    def __init__(self) -> None:
        self.work: list[Callable[[], Any]] = []

    def submit(self, work: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        self.work.append(lambda: work(*arguments))
        return Future()


def steps_shown(job: Job, *, encode: Callable[[Any], bytes] | None = lambda pixels: b"look") -> list[int]:
    """The steps at which an image is looked at from its first step to its last."""
    shown: list[Preview] = []
    with ThreadPoolExecutor(1) as pool:
        for i in range(1, job.spec.steps + 1):
            later = Later()
            Previews(encode, shown.append, later).take(FakeDoor(), job, FakeSample(job.spec, i))  # type: ignore[arg-type]
            for work in later.work:
                pool.submit(work)
    return [preview.step for preview in shown]


def test_looks_are_taken_at_the_chosen_steps_and_not_of_the_finished_image() -> None:
    assert steps_shown(JOB) == [3, 6, 9]
    assert steps_shown(Job(1, "r", "fake-64", SampleSpec(0, 0, 9, 4.0, "ddim"), preview_every=3)) == [3, 6]


def test_without_an_encoder_none_is_taken() -> None:
    assert steps_shown(JOB, encode=None) == []


def test_a_look_that_would_have_to_wait_is_left_out() -> None:
    shown: list[Preview] = []
    later = Later()
    previews = Previews(lambda pixels: b"look", shown.append, later)  # type: ignore[arg-type]
    for i in (3, 6):
        previews.take(FakeDoor(), JOB, FakeSample(JOB.spec, i))
    (work,) = later.work
    work()
    previews.take(FakeDoor(), JOB, FakeSample(JOB.spec, 9))
    later.work[1]()
    assert [preview.step for preview in shown] == [3, 9]


def test_a_look_that_raises_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Blind(FakeDoor):
        def preview(self, sample: FakeSample, /) -> Any:
            raise RuntimeError("out of colours")

    later = Later()
    Previews(lambda pixels: b"", lambda preview: None, later).take(  # type: ignore[arg-type]
        Blind(), JOB, FakeSample(JOB.spec, 3)
    )
    assert later.work == []
    assert "out of colours" in caplog.text


def test_a_look_is_read_where_it_is_encoded_and_one_that_cannot_be_is_logged_and_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Blurred(FakeDoor):
        def preview(self, sample: FakeSample, /) -> Callable[[], Any]:
            def look() -> Any:
                if sample.i == 3:
                    raise RuntimeError("out of focus")
                return "pixels"

            return look

    later = Later()
    shown: list[Preview] = []
    previews = Previews(lambda pixels: f"{pixels} encoded".encode(), shown.append, later)  # type: ignore[arg-type]
    previews.take(Blurred(), JOB, FakeSample(JOB.spec, 3))
    assert caplog.text == ""  # the loop reads none
    later.work[0]()
    previews.take(Blurred(), JOB, FakeSample(JOB.spec, 6))
    later.work[1]()
    assert caplog.text.count("RuntimeError: out of focus") == 1
    assert shown == [Preview(JOB.id, 6, b"pixels encoded")]


def test_an_encoder_that_raises_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    def encode(pixels: Any) -> bytes:
        raise RuntimeError("out of paint")

    assert steps_shown(JOB, encode=encode) == []
    assert "out of paint" in caplog.text
