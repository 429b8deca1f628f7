"""What is told of GPUs, from a library of the shape of NVML's."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dit_serve.service.telemetry.gpu_metrics import GpuCollector, open_gpus


class NVMLError(Exception):
    """As the library raises."""


def fails(*about: object) -> None:
    raise NVMLError("Not Supported")


def fake_nvml(**changes: Any) -> Any:
    """A library with two cards, the second of which draws more."""
    answers = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda number: f"handle {number}",
        "nvmlDeviceGetName": lambda handle: b"Card" if handle == "handle 1" else "Card",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=2 << 30, total=80 << 30),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=50, memory=10),
        "nvmlDeviceGetPowerUsage": lambda handle: 250_000 if handle == "handle 1" else 100_500,
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: 5_500,
    }
    return SimpleNamespace(**answers | changes)


def told(nvml: Any) -> CollectorRegistry:
    registry, gpus = CollectorRegistry(), GpuCollector(nvml)
    registry.register(gpus)
    gpus.read()
    return registry


def test_every_card_is_told_in_base_units() -> None:
    registry = told(fake_nvml())
    expected = {
        "dit_gpu_memory_used_bytes": 2 << 30, "dit_gpu_memory_total_bytes": 80 << 30,
        "dit_gpu_utilisation_ratio": 0.5, "dit_gpu_power_watts": 250.0, "dit_gpu_energy_joules_total": 5.5,
    }
    assert {name: registry.get_sample_value(name, {"gpu": "1"}) for name in expected} == expected
    assert registry.get_sample_value("dit_gpu_power_watts", {"gpu": "0"}) == 100.5
    assert [registry.get_sample_value("dit_gpu_info", {"gpu": gpu, "name": "Card"}) for gpu in "01"] == [1, 1]


def test_what_a_card_does_not_tell_is_left_out_and_the_rest_is_told() -> None:
    registry = told(fake_nvml(nvmlDeviceGetTotalEnergyConsumption=fails))
    assert registry.get_sample_value("dit_gpu_energy_joules_total", {"gpu": "0"}) is None
    assert registry.get_sample_value("dit_gpu_power_watts", {"gpu": "0"}) == 100.5


def test_a_driver_that_is_lost_while_serving_tells_nothing_and_raises_nothing() -> None:
    registry = told(fake_nvml(nvmlDeviceGetCount=fails))
    assert registry.get_sample_value("dit_gpu_power_watts", {"gpu": "0"}) is None


def test_nothing_is_told_before_the_first_reading() -> None:
    registry = CollectorRegistry()
    registry.register(GpuCollector(fake_nvml()))
    assert not [sample for family in registry.collect() for sample in family.samples]


@pytest.mark.parametrize("nvml", [fake_nvml(nvmlInit=fails), fake_nvml(nvmlDeviceGetCount=lambda: 0)])
def test_without_a_driver_or_a_card_there_is_nothing_to_measure(nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_fake_nvml", nvml)
    assert open_gpus("a_fake_nvml") is None


def test_with_a_card_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_fake_nvml", fake_nvml())
    assert isinstance(open_gpus("a_fake_nvml"), GpuCollector)


def test_without_the_library_there_is_nothing_to_measure() -> None:
    assert open_gpus("a_module_that_does_not_exist") is None
