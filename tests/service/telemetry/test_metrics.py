"""What is recorded, under which names and labels, and that there is a bound to how many there can be."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from dit_serve.service.telemetry.metrics import REFUSALS, STAGE_BUCKETS, STAGES, Metrics
from dit_serve.service.wire.job import JobEnd, Outcome, Split, Stepped, Timings
from tests.service.fake import FakeDoor

SMALL, LARGE = {"model": "fake-64", "resolution": 64}, {"model": "fake-128", "resolution": 128}
DONE = JobEnd(1, Outcome.COMPLETED, b"png", Timings(4.0, 2.0, 0.5, 0.25))


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(CollectorRegistry())
    metrics.expect_models([FakeDoor("fake-64").info, FakeDoor("fake-128").info])
    return metrics


def value(metrics: Metrics, name: str, **labels: object) -> float | None:
    return metrics.registry.get_sample_value(name, {key: str(label) for key, label in labels.items()})


def test_stages_are_measured_from_10_ms_to_600_s() -> None:
    assert (STAGE_BUCKETS[0], STAGE_BUCKETS[-1]) == (0.01, 600.0)
    assert list(STAGE_BUCKETS) == sorted(set(STAGE_BUCKETS))


def test_a_completed_image_is_counted_with_its_pixels_and_the_seconds_of_each_stage(metrics: Metrics) -> None:
    metrics.completed("fake-64", DONE, first_step_seconds=4.125)
    assert value(metrics, "dit_images_total", **SMALL) == 1
    assert value(metrics, "dit_pixels_total", **SMALL) == 64 * 64
    seconds = {stage: value(metrics, "dit_job_stage_seconds_sum", **SMALL, stage=stage) for stage in STAGES}
    assert seconds == {
        "wait": 4.0, "first_step": 4.125, "denoise": 2.0, "decode": 0.5, "encode": 0.25, "total": 6.75,
    }


def test_a_step_counts_its_images_its_sequences_and_the_places_it_could_have_had(metrics: Metrics) -> None:
    metrics.stepped(Stepped((1, 2, 3), "fake-64", 5, 0.02, 0.0, places=8, cache_hits=4, cache_misses=1))
    expected = {
        "dit_denoising_steps_total": 3, "dit_step_seconds_count": 1, "dit_batch_sequences_sum": 5,
        "dit_batch_places_total": 8, "dit_modulation_cache_hits_total": 4, "dit_modulation_cache_misses_total": 1,
    }
    assert {name: value(metrics, name, **SMALL) for name in expected} == expected


def test_halved_batches_are_counted_by_their_reason(metrics: Metrics) -> None:
    metrics.split(Split("fake-128", bisections=3, memory_splits=2))
    assert value(metrics, "dit_bisections_total", **LARGE) == 3
    assert value(metrics, "dit_out_of_memory_splits_total", **LARGE) == 2


def test_a_refusal_is_counted_by_its_reason_and_what_it_told(metrics: Metrics) -> None:
    metrics.refused("queue-full", 7)
    metrics.refused("deadline-too-short", None)
    assert [value(metrics, "dit_refused_requests_total", reason=reason) for reason in REFUSALS] == [1, 1, 0, 0]
    assert value(metrics, "dit_retry_after_seconds_count") == 1
    assert value(metrics, "dit_retry_after_seconds_sum") == 7


def test_a_lost_worker_is_a_restart_and_its_jobs_are_replays(metrics: Metrics) -> None:
    metrics.expect_workers(2)
    metrics.worker_lost(1, replays=5)
    assert [value(metrics, "dit_worker_restarts_total", worker=number) for number in (0, 1)] == [0, 1]
    assert value(metrics, "dit_job_replays_total") == 5


def test_a_loaded_model_shows_zeros_before_its_first_image(metrics: Metrics) -> None:
    names = ("dit_images_total", "dit_previews_total", "dit_step_seconds_count", "dit_bisections_total")
    assert [value(metrics, name, **SMALL) for name in names] == [0] * len(names)
    assert value(metrics, "dit_job_stage_seconds_count", **SMALL, stage="total") == 0


def test_every_name_begins_with_dit_and_ends_with_a_unit_or_a_count(metrics: Metrics) -> None:
    for family in metrics.registry.collect():
        assert family.name.startswith("dit_")
        assert family.type == "counter" or family.name.endswith(("_seconds", "_bytes", "_sequences")), family.name


def test_no_label_is_of_the_clients_choice(metrics: Metrics) -> None:
    metrics.expect_workers(1)
    labels = {label for family in metrics.registry.collect() for sample in family.samples for label in sample.labels}
    assert labels == {"model", "resolution", "stage", "worker", "reason", "le"}
