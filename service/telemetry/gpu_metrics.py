"""What Prometheus is told of GPUs: memory, utilisation, power and energy, as the driver's own library (NVML) says.

NVML comes by the package nvidia-ml-py (extra `gpu`); without it, or without a card, there is nothing to tell. It is
asked in a thread, because some drivers take tens of milliseconds to answer. Every GPU that this process may see is
told, whether a worker uses it or not; a container sees its own alone. Imports no torch, and no NVML until `open_gpus`.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Reading:
    """One GPU at one moment; None where it does not tell, as some cards do not tell power or energy."""

    name: str
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    utilisation: float | None
    power_watts: float | None
    energy_joules: float | None


class GpuCollector(Collector):
    """Tells the newest readings.

    Args:
        nvml: the module `pynvml`, initialised.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._readings: Sequence[Reading] = ()

    def read(self) -> None:
        """Asks every GPU; takes its time, so it is called in a thread."""
        count = self._ask(self._nvml.nvmlDeviceGetCount) or 0
        self._readings = tuple(self._read_one(number) for number in range(count))

    def collect(self) -> Iterable[Metric]:
        """The families of the newest readings."""
        yield self._family(GaugeMetricFamily, "memory_used_bytes", "Memory in use.")
        yield self._family(GaugeMetricFamily, "memory_total_bytes", "Memory in all.")
        yield self._family(GaugeMetricFamily, "utilisation", "Share of the time in which a kernel ran.", "_ratio")
        yield self._family(GaugeMetricFamily, "power_watts", "Power drawn.")
        yield self._family(CounterMetricFamily, "energy_joules", "Energy drawn since the driver was loaded.")
        info = GaugeMetricFamily("dit_gpu_info", "A GPU's name.", labels=("gpu", "name"))
        for number, reading in enumerate(self._readings):
            info.add_metric((str(number), reading.name), 1)
        yield info

    def _family(
        self, kind: type[GaugeMetricFamily] | type[CounterMetricFamily], field: str, text: str, unit: str = ""
    ) -> Metric:
        family = kind(f"dit_gpu_{field}{unit}", text, labels=("gpu",))
        for number, reading in enumerate(self._readings):
            value = getattr(reading, field)
            if value is not None:
                family.add_metric((str(number),), value)
        return family

    def _read_one(self, number: int) -> Reading:
        nvml = self._nvml
        handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, number)
        name = self._ask(nvml.nvmlDeviceGetName, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        utilisation = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        power_milliwatts = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        energy_millijoules = self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        return Reading(
            name=name.decode() if isinstance(name, bytes) else str(name or ""),
            memory_used_bytes=None if memory is None else memory.used,
            memory_total_bytes=None if memory is None else memory.total,
            utilisation=None if utilisation is None else utilisation.gpu / 100,
            power_watts=None if power_milliwatts is None else power_milliwatts / 1000,
            energy_joules=None if energy_millijoules is None else energy_millijoules / 1000,
        )

    def _ask(self, question: Callable[..., Any], *about: object) -> Any:
        """The answer, None if this card or driver has none."""
        with contextlib.suppress(self._nvml.NVMLError):
            return question(*about)
        return None


def open_gpus(module: str = "pynvml") -> GpuCollector | None:
    """What tells of the GPUs; None without NVIDIA's library, its driver, or a card."""
    try:
        nvml = importlib.import_module(module)
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return GpuCollector(nvml) if nvml.nvmlDeviceGetCount() else None
    except nvml.NVMLError as error:
        logging.getLogger("dit.gpu").info("no GPU is measured: %s", error)
        return None
