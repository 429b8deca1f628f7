"""A training run is a function of its config: resumable, seeded, and written so that diffusers reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DiTPipeline
from PIL import Image

from dit_serve import load_pipeline
from dit_serve.models.architecture import CONDITIONED, Conditioned
from dit_serve.models.training.dit import (
    Trainer,
    TrainingConfig,
    drop_labels,
    ema_factor,
    rate_factor,
    train,
    update_ema,
)
from dit_serve.models.training.saving import STATE_FILE
from tests.models.conditioned import OTHERS
from tests.models.tiny_vae import save_tiny_vae


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny autoencoder."""
    folder = tmp_path_factory.mktemp("vae")
    save_tiny_vae(folder)
    return folder


@pytest.fixture
def config(tmp_path: Path, vae: Path) -> TrainingConfig:
    """A tiny run on eight pictures of two classes."""
    for name, colour in (("coal", 10), ("snow", 240)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (32, 32), (colour, colour, 20 * i)).save(tmp_path / "data" / name / f"{i}.png")
    return TrainingConfig(
        out=tmp_path / "out",
        vae=vae,
        data=str(tmp_path / "data"),
        resolution=32,
        hidden_size=16,
        depth=2,
        num_heads=2,
        steps=6,
        batch_size=4,
        learning_rate=1e-2,
        ema_decay=0.9,
        stored="float32",
    )


@pytest.fixture(autouse=True)
def _own_randomness() -> Iterator[None]:
    """Puts the global generator back: a run seeds it for the network's first weights."""
    with torch.random.fork_rng():
        yield


def _state(config: TrainingConfig) -> dict[str, object]:
    state: dict[str, object] = torch.load(config.out / STATE_FILE, weights_only=True)
    return state


def _take(trainer: Trainer, steps: int) -> list[float]:
    return [float(terms.simple.mean()) for terms, _ in zip(trainer.run(), range(steps), strict=False)]


def test_resumed_run_ends_in_the_same_bits(config: TrainingConfig, tmp_path: Path) -> None:
    train(config)
    halves = replace(config, out=tmp_path / "halves")
    first = Trainer(halves)
    for _ in range(3):
        first.train_step()
    first.save()
    train(halves)
    whole, resumed = _state(config), _state(halves)
    assert resumed["step"] == whole["step"] == 6
    for part in ("model", "ema"):
        for name, tensor in whole[part].items():  # type: ignore[attr-defined]
            assert torch.equal(tensor, resumed[part][name]), name  # type: ignore[index]
    assert torch.equal(whole["generator"], resumed["generator"])  # type: ignore[arg-type]


def test_seed_decides_the_run(config: TrainingConfig) -> None:
    assert _take(Trainer(config), 3) == _take(Trainer(config), 3)
    assert _take(Trainer(config), 3) != _take(Trainer(replace(config, seed=1)), 3)


@pytest.mark.parametrize("conditioning", CONDITIONED)
def test_training_lowers_the_loss(config: TrainingConfig, conditioning: Conditioned) -> None:
    losses = _take(Trainer(replace(config, steps=150, conditioning=conditioning)), 150)
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])


@pytest.mark.parametrize("conditioning", OTHERS)
def test_what_is_trained_with_other_blocks_is_resumed_and_sampled(
    config: TrainingConfig, conditioning: Conditioned
) -> None:
    config = replace(config, conditioning=conditioning, stored="float16")
    train(replace(config, steps=2))
    train(config)
    assert _state(config)["step"] == 6
    pipeline = load_pipeline(config.out, device="cpu")
    assert (pipeline.info.conditioning, pipeline.info.class_name(1)) == (conditioning, "snow")
    assert pipeline.generate(["snow"], [0], steps=2)[0].shape == (32, 32, 3)


def test_snr_weighting_changes_the_weights_and_not_the_reported_terms(config: TrainingConfig) -> None:
    plain, weighted = _take(Trainer(config), 3), _take(Trainer(replace(config, snr_gamma=1.0)), 3)
    assert plain[0] == weighted[0]
    assert plain[2] != weighted[2]


def test_finished_run_is_not_trained_further(config: TrainingConfig) -> None:
    train(config)
    before = _state(config)["generator"]
    train(config)
    assert torch.equal(before, _state(config)["generator"])  # type: ignore[arg-type]


def test_resume_refuses_another_architecture(config: TrainingConfig) -> None:
    train(replace(config, steps=1))
    with pytest.raises(ValueError, match=r"another architecture \(depth 2, not 3\): remove it or choose another out"):
        train(replace(config, depth=3))
    with pytest.raises(ValueError, match=r"another architecture \(conditioning adaln-zero, not adaln\): remove it"):
        train(replace(config, conditioning="adaln"))


def test_a_run_of_before_there_were_other_blocks_is_resumed(config: TrainingConfig) -> None:
    train(replace(config, steps=1))
    state = _state(config)
    del state["architecture"]["conditioning"]  # type: ignore[attr-defined]
    torch.save(state, config.out / STATE_FILE)
    train(config)
    assert _state(config)["step"] == 6


def test_bfloat16_arithmetic_keeps_float32_weights(config: TrainingConfig) -> None:
    trainer = Trainer(replace(config, precision="bfloat16"))
    exact = _take(Trainer(config), 3)
    rounded = _take(trainer, 3)
    assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
    assert rounded == pytest.approx(exact, rel=0.05)  # bfloat16 keeps eight bits
    assert rounded != exact


def test_export_is_the_average_and_loads_in_diffusers(config: TrainingConfig) -> None:
    train(config)
    pipeline = DiTPipeline.from_pretrained(config.out, low_cpu_mem_usage=False)
    trainer = Trainer(config)
    trainer.resume()
    trainer.model.load_state_dict(trainer.ema)
    x, t, y = torch.randn(3, 4, 4, 4), torch.tensor([0, 500, 999]), torch.tensor([0, 1, 2])
    with torch.inference_mode():
        theirs = pipeline.transformer.eval()(x, timestep=t, class_labels=y).sample
        ours = trainer.model.eval()(x, t, y)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)  # the order of float32 additions differs
    assert json.loads((config.out / "model_index.json").read_text())["id2label"] == {"0": "coal", "1": "snow"}
    assert pipeline.vae.config["scaling_factor"] == 2.0


def test_run_starts_from_the_average_of_another(config: TrainingConfig, tmp_path: Path) -> None:
    train(config)
    first = _state(config)["ema"]
    started = Trainer(replace(config, out=tmp_path / "second", initial=config.out))
    for name, tensor in first.items():  # type: ignore[attr-defined]
        assert torch.equal(started.model.state_dict()[name], tensor), name
        assert torch.equal(started.ema[name], tensor), name
    assert started.step == 0


def test_labels_are_dropped_at_the_rate_and_to_the_null_class() -> None:
    y = torch.arange(10).repeat(2000)
    dropped = drop_labels(y, 0.1, 10, torch.Generator().manual_seed(0))
    is_null = dropped == 10
    assert abs(is_null.float().mean().item() - 0.1) < 0.0085  # four standard deviations of 20,000 draws
    assert torch.equal(dropped[~is_null], y[~is_null])
    assert torch.equal(drop_labels(y, 0.0, 10, torch.Generator()), y)


def test_average_moves_by_the_complement_of_its_factor() -> None:
    ema = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([0.0])}
    update_ema(ema, {"b": torch.tensor([10.0]), "a": torch.tensor([2.0, 2.0])}, 0.75)
    torch.testing.assert_close(ema["a"], torch.tensor([1.25, 2.0]))
    torch.testing.assert_close(ema["b"], torch.tensor([2.5]))


def test_average_forgets_its_beginning_faster_than_its_decay() -> None:
    assert ema_factor(1, 0.9999) == 2 / 11
    assert ema_factor(10**6, 0.9999) == 0.9999


def test_learning_rate_rises_stays_and_falls(config: TrainingConfig) -> None:
    plan = replace(config, steps=100, warmup_steps=10, decay_steps=20)
    factors = [rate_factor(step, plan) for step in range(100)]
    assert factors[0] == 0.1
    assert factors[9] == factors[80] == 1.0
    assert factors[99] == 0.05
    assert [rate_factor(step, config) for step in range(6)] == [1.0] * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_dropout": 1.0}, r"label_dropout must be in \[0, 1\), got 1.0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"precision": "int8"}, "precision must be float32 or bfloat16, got 'int8'"),
        ({"stored": "int8"}, "stored must be one of float16, bfloat16, float32, got 'int8'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(config: TrainingConfig, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config, **change)  # type: ignore[arg-type]


def test_resolution_must_be_a_multiple_of_the_down_sampling(config: TrainingConfig) -> None:
    with pytest.raises(ValueError, match="resolution 36 is not a multiple of the autoencoder's 8"):
        Trainer(replace(config, resolution=36))
