"""What counts as the time of a step and of an image."""

from __future__ import annotations

import pytest

from dit_serve.service.front.tempo import Tempo
from dit_serve.service.wire.job import Stepped, Timings


def step(at: float, *ids: int) -> Stepped:
    return Stepped(ids, "fake-64", 2, 0.1, at)


def test_a_step_takes_what_has_passed_since_the_one_before() -> None:
    tempo = Tempo()
    assert tempo.step_seconds(step(1.0, 1), lambda _: True) == 0.1
    assert tempo.step_seconds(step(1.25, 1, 2), lambda _: True) == pytest.approx(0.25)


def test_after_an_end_or_a_pause_a_step_takes_what_it_took_itself() -> None:
    tempo = Tempo()
    tempo.step_seconds(step(1.0, 1, 2), lambda _: True)
    assert tempo.step_seconds(step(9.0, 3), lambda number: number != 2) == 0.1


def test_of_images_that_were_done_together_each_takes_its_own_time() -> None:
    tempo = Tempo()
    assert tempo.image_seconds(Timings(denoise=5, decode=0.2, encode=0.1), now=10.0) == pytest.approx(0.3)
    assert tempo.image_seconds(Timings(denoise=5, decode=0.4, encode=0.1), now=10.2) == pytest.approx(0.2)
