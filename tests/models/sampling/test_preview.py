"""The linear look at latents, on a real autoencoder."""

from __future__ import annotations

import numpy as np

from dit_serve import SampleSpec, load_pipeline


def test_a_preview_of_a_finished_digit_is_close_to_its_picture_made_small() -> None:
    pipeline = load_pipeline("digits-64", device="cpu")
    sample = pipeline.begin(SampleSpec(class_id=7, seed=0, steps=10))
    while not sample.is_done:
        pipeline.step([sample])
    small = pipeline.decode([sample])[0].reshape(8, 8, 8, 8, 3).mean((1, 3))
    error = np.abs(pipeline.preview(sample) - small).mean()
    assert error < 0.35 * np.abs(small - small.mean()).mean()  # a picture of one grey would have 1.0
