"""A captured step is the eager step to the last bit, whatever is in its slots, and memory decides how large it is."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest
import torch

from dit_serve import Pipeline, SampleSpec, load_pipeline
from dit_serve.kernels.sampler_step import sampler_step
from dit_serve.models.sampling.decoding import SIZES
from dit_serve.models.sampling.graphs import BUCKETS, LEAST, Stepped, affordable
from dit_serve.models.sampling.guidance import is_guided
from dit_serve.models.sampling.sample import Sample
from dit_serve.models.sampling.slots import Numbers
from tests.models.sampling.slow_card import SlowCard

GIB = 1 << 30


def warmed_up(folder: Path, card: SlowCard, **arguments: object) -> Pipeline:
    pipeline = load_pipeline(folder, device="cpu", dtype="float32", **arguments)  # type: ignore[arg-type]
    pipeline.warm_up(lambda: card)
    return pipeline


@pytest.fixture(scope="module")
def eager(folder: Path) -> Pipeline:
    return load_pipeline(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def captured(folder: Path) -> Pipeline:
    return warmed_up(folder, SlowCard())


def latents_by_hand(pipeline: Pipeline, spec: SampleSpec) -> torch.Tensor:
    """The walk of one sample without slots, buckets or company: (1, C, H, W)."""
    sample, model = pipeline.begin(spec), pipeline.model
    classes = [spec.class_id, pipeline.info.num_classes] if is_guided(spec.guidance_scale) else [spec.class_id]
    x, x0 = sample.latents, sample.x0
    for i, t in enumerate(sample.table.timesteps):
        modulations = pipeline._conditioning.compute([t] * len(classes), classes)
        noise = torch.randn(x.shape, generator=sample.generator) if sample.table.is_noisy[i] else None
        with torch.inference_mode():
            out = model.denoise(x.expand(len(classes), -1, -1, -1), modulations)
            x, x0 = sampler_step(
                x, out, torch.tensor([len(classes) - 1]), torch.tensor([spec.guidance_scale]),
                pipeline.info.guidance_channels, sample.table.coefficients[i : i + 1], x0, noise,
            )
    return x


def random_spec(source: random.Random) -> SampleSpec:
    return SampleSpec(
        class_id=source.randrange(10), seed=source.randrange(1000), steps=source.randint(1, 5),
        guidance_scale=source.choice([1.0, 1.5, 4.0]), sampler=source.choice(["ddim", "ddpm", "dpm++"]),
    )


@pytest.mark.parametrize("kind", ["eager", "captured"])
def test_every_sample_of_a_crowd_that_comes_and_goes_ends_as_it_does_alone(
    kind: str, request: pytest.FixtureRequest
) -> None:
    pipeline: Pipeline = request.getfixturevalue(kind)
    source = random.Random(torch.initial_seed())
    running: list[Sample] = []
    ended: list[Sample] = []
    for _ in range(12):
        running += [pipeline.begin(random_spec(source)) for _ in range(source.randrange(8))]
        if running and source.random() < 0.5:
            running.remove(source.choice(running))  # cancelled
        source.shuffle(running)
        if running:
            pipeline.step(running[: source.randint(1, len(running))])
        ended += [sample for sample in running if sample.is_done]
        running = [sample for sample in running if not sample.is_done]
    assert len(ended) > 4
    for sample in ended:
        assert torch.equal(sample.latents, latents_by_hand(pipeline, sample.spec)), sample.spec


def test_a_card_that_is_not_warmed_up_chooses_its_products_once_for_the_sizes_that_its_steps_have(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load_pipeline(folder, device="cpu", dtype="float32")
    samples = [pipeline.begin(SampleSpec(i, i, steps=2, guidance_scale=1.0)) for i in range(3)]
    seen, run = list[object](), pipeline._slots.run

    def recorded(rows: int, sequences: int, is_noisy: bool = True) -> Stepped:
        seen.append(sequences)
        return run(rows, sequences, is_noisy)

    monkeypatch.setattr(pipeline.model, "choose_ways", lambda batches, _: seen.append(batches) or batches[:5])
    monkeypatch.setattr(pipeline._slots, "run", recorded)
    monkeypatch.setattr(pipeline, "device", torch.device("cuda"))
    for _ in range(2):
        pipeline.step(samples)
    assert seen == [BUCKETS, 4, 4]
    assert pipeline.max_sequences == 16  # of those that there was memory to try


def test_more_sequences_than_a_step_has_room_for_are_refused_and_no_sample_changes(eager: Pipeline) -> None:
    samples = [eager.begin(SampleSpec(i % 10, i, steps=1)) for i in range(33)]
    with pytest.raises(ValueError, match="a step has 64 places, these samples take 66"):
        eager.step(samples)
    assert all(sample.i == 0 for sample in samples)


def test_more_images_than_a_step_has_room_for_are_generated_in_batches(eager: Pipeline) -> None:
    made = eager.generate([i % 10 for i in range(35)], list(range(35)), steps=1, output_type="latents")
    for i in range(0, 35, 6):
        assert (made[i] == latents_by_hand(eager, SampleSpec(i % 10, i, steps=1))[0].numpy()).all()


def test_modulations_beyond_the_budget_are_computed_for_a_captured_step_too(folder: Path, captured: Pipeline) -> None:
    bare = warmed_up(folder, SlowCard(), modulation_cache_bytes=0)
    ours = bare.generate([1, 2, 3], [0, 1, 2], steps=3, output_type="latents")
    theirs = captured.generate([1, 2, 3], [0, 1, 2], steps=3, output_type="latents")
    assert all((one == other).all() for one, other in zip(ours, theirs, strict=True))


def test_a_captured_step_keeps_what_earlier_ones_gave(captured: Pipeline) -> None:
    first = captured.begin(SampleSpec(1, 1, steps=2))
    captured.step([first])
    latents, x0 = first.latents.clone(), first.x0.clone()
    captured.step([captured.begin(SampleSpec(2, 2, steps=2))])
    assert torch.equal(first.latents, latents)
    assert torch.equal(first.x0, x0)


def test_numbers_and_noise_that_are_uploaded_are_those_in_place(folder: Path) -> None:
    pipeline = warmed_up(folder, SlowCard())
    slots = pipeline._slots  # as on a card: the host's memory is not the device's
    slots._host_numbers, slots._host_noise = Numbers(torch.device("cpu")), torch.zeros_like(slots._noise)
    specs = [SampleSpec(i, i, steps=3, guidance_scale=1.0 + i % 3, sampler=("ddim", "ddpm")[i % 2]) for i in range(5)]
    samples = [pipeline.begin(spec) for spec in specs]
    for _ in range(3):
        pipeline.step(samples)
    for sample in samples:
        assert torch.equal(sample.latents, latents_by_hand(pipeline, sample.spec))


def test_nan_stays_with_its_sample_now_and_in_the_steps_after(captured: Pipeline) -> None:
    spoilt = [captured.begin(SampleSpec(3, seed, steps=3)) for seed in range(7)]
    good = captured.begin(SampleSpec(4, 4, steps=3, sampler="ddpm"))
    for sample in spoilt:
        sample.latents.fill_(float("nan"))
    captured.step([*spoilt[:3], good, *spoilt[3:]])
    assert all(sample.latents.isnan().all() for sample in spoilt)
    while not good.is_done:
        captured.step([good])  # what the others have left in the slots fills up nothing of it
    assert torch.equal(good.latents, latents_by_hand(captured, good.spec))


def test_a_captured_step_that_failed_can_be_taken_again(folder: Path) -> None:
    card = SlowCard()
    pipeline = warmed_up(folder, card)
    sample = pipeline.begin(SampleSpec(5, 5, steps=2, sampler="ddpm"))
    before = sample.latents.clone()
    card.is_broken = True
    with pytest.raises(torch.OutOfMemoryError):
        pipeline.step([sample])
    assert sample.i == 0
    assert torch.equal(sample.latents, before)
    card.is_broken = False
    while not sample.is_done:
        pipeline.step([sample])
    assert torch.equal(sample.latents, latents_by_hand(pipeline, sample.spec))


def test_a_batch_takes_the_smallest_bucket_that_holds_it(captured: Pipeline) -> None:
    graphs = captured._graphs
    assert captured.buckets == BUCKETS
    assert [graphs.bucket_for(n) for n in (1, 2, 3, 4, 5, 9, 33, 64)] == [1, 2, 4, 4, 8, 16, 64, 64]
    assert graphs.bucket_for(65) is None


def test_without_a_card_nothing_is_captured_and_the_slots_are_the_bound(eager: Pipeline) -> None:
    eager.warm_up()
    assert (eager.buckets, eager.max_sequences) == ((), 64)


@pytest.mark.parametrize(
    ("free", "one", "expected"),
    [
        (80 * GIB, 10 << 20, BUCKETS),
        (10 * GIB, GIB, (1, 2, 4, 8)),  # nine, after what is spared
        (9 * GIB, GIB, (1, 2, 4, 8)),
        (8 * GIB, GIB, (1, 2, 4)),
        (GIB, 10 * GIB, (1, 2)),  # a guided sample is tried in any case
        (GIB, 0, BUCKETS),
    ],
)
def test_memory_decides_the_buckets(free: int, one: int, expected: tuple[int, ...]) -> None:
    assert affordable(free, one) == expected


def test_the_cap_follows_the_memory_that_a_step_was_measured_to_take(folder: Path) -> None:
    card = SlowCard(free=12 * GIB, peak=2 * GIB)  # of two sequences, and of the decoder, to which it is left
    pipeline = warmed_up(folder, card)
    assert (pipeline.buckets, pipeline.max_sequences) == ((1, 2, 4, 8), 8)
    card.replays = 0
    pipeline.generate(list(range(10)), list(range(10)), steps=1, output_type="latents")
    assert card.replays == 3  # twenty sequences


def test_a_capture_that_fails_is_left_out_and_the_cap_follows(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        pipeline = warmed_up(folder, SlowCard(fails_at=(0, 1, 3)))
    assert (pipeline.buckets, pipeline.max_sequences) == ((1, 2, 4, 16), 16)
    assert [record.args[0] for record in caplog.records if record.args] == [64, 32, 8]  # type: ignore[index]
    sample = pipeline.begin(SampleSpec(6, 6, steps=1))
    pipeline.step([pipeline.begin(SampleSpec(i, i, steps=1)) for i in range(3)] + [sample])  # eight sequences
    assert torch.equal(sample.latents, latents_by_hand(pipeline, sample.spec))


def test_where_nothing_can_be_captured_steps_are_eager(
    folder: Path, eager: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        pipeline = warmed_up(folder, SlowCard(free=1, fails_at=tuple(range(6))))
    assert (pipeline.buckets, pipeline.max_sequences) == ((), LEAST)
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no graph for 2 sequences", "no graph for 1 sequences", "no step is captured",
        *(f"no graph for the decoding of {size} images" for size in SIZES),
    ]
    sample = pipeline.begin(SampleSpec(6, 6, steps=2))
    while not sample.is_done:
        pipeline.step([sample])
    assert torch.equal(sample.latents, latents_by_hand(eager, sample.spec))
    assert pipeline.decode([sample])[0].shape == (64, 64, 3)


@pytest.mark.parametrize("place", [0, 7])  # the first capture and the last
def test_a_device_that_is_lost_while_it_captures_is_no_missing_graph(folder: Path, place: int) -> None:
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(torch.AcceleratorError):
        warmed_up(folder, SlowCard(fails_at=(place,), failure=lost))


def test_a_capture_that_a_device_survives_is_left_out(folder: Path) -> None:
    invalid = torch.AcceleratorError("CUDA error: operation failed due to a previous error during capture")
    assert 32 not in warmed_up(folder, SlowCard(fails_at=(1,), failure=invalid)).buckets


def test_a_card_is_left_what_the_decoder_takes(folder: Path) -> None:
    assert warmed_up(folder, SlowCard(free=3 * GIB, peak=GIB)).max_sequences == 2  # of 2 GiB, and a half each
    assert warmed_up(folder, SlowCard(free=GIB, peak=2 * GIB)).max_sequences == LEAST
