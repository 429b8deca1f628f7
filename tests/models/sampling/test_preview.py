"""The linear look at latents, on a real autoencoder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dit_serve import Pipeline, SampleSpec, load_pipeline


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load_pipeline("digits-64", device="cpu")


def test_a_preview_of_a_finished_digit_is_close_to_its_picture_made_small(pipeline: Pipeline) -> None:
    sample = pipeline.begin(SampleSpec(class_id=7, seed=0, steps=10))
    while not sample.is_done:
        pipeline.step([sample])
    small = pipeline.decode([sample])[0].reshape(8, 8, 8, 8, 3).mean((1, 3))
    error = np.abs(pipeline.preview(sample)() - small).mean()
    assert error < 0.35 * np.abs(small - small.mean()).mean()  # a picture of one grey would have 1.0


def test_a_look_read_late_and_elsewhere_is_of_the_step_that_it_was_taken_after(pipeline: Pipeline) -> None:
    sample = pipeline.begin(SampleSpec(class_id=3, seed=1, steps=4))
    looks, read_at_once = [], []
    while not sample.is_done:
        pipeline.step([sample])
        looks.append(pipeline.preview(sample))
        read_at_once.append(pipeline.preview(sample)())
    with ThreadPoolExecutor(1) as thread:
        read_late = [thread.submit(look).result() for look in looks]
    assert np.array_equal(read_late, read_at_once)
    assert not np.array_equal(read_late[0], read_late[-1])
