"""What a server says of itself on its metrics port, at one moment."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from benchmarks.load import get
from tests.service.running import Running

PATIENCE_SECONDS = 60.0  # for what was given up to end at its next step
PACE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Scrape:
    """All families of one answer."""

    families: tuple[Metric, ...]

    def samples(self, name: str) -> list[Sample]:
        """Those of a name, such as dit_images_total."""
        return [sample for family in self.families for sample in family.samples if sample.name == name]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of a name that bear these labels."""
        return sum(sample.value for sample in self.samples(name) if labels.items() <= sample.labels.items())

    def by(self, name: str, label: str) -> Counter[str]:
        """The sums by a label's values; those that are 0 are left out."""
        sums: Counter[str] = Counter()
        for sample in self.samples(name):
            sums[sample.labels[label]] += int(sample.value)
        return +sums

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked and nothing is being made."""
        return not self.total("dit_requests_in_progress") and not self.total("dit_queue_jobs")


async def scrape(server: Running) -> Scrape:
    """What it says now."""
    (line,) = server.find("metrics_listening")
    answer = await get(int(line["port"]), "/metrics")
    return Scrape(tuple(text_string_to_metric_families(answer.body.decode())))


async def scrape_when_idle(server: Running) -> Scrape:
    """What it says once it has nothing to do, or after a minute in which it did not come to that."""
    for _ in range(round(PATIENCE_SECONDS / PACE_SECONDS)):
        if (found := await scrape(server)).is_idle:
            break
        await asyncio.sleep(PACE_SECONDS)
    return found


def histogram_faults(families: Iterable[Metric]) -> tuple[int, list[str]]:
    """How many histograms there are, by their labels, and which of them contradict themselves.

    A histogram's buckets are sums, so that none is less than the one before it, and the last is the count.
    """
    buckets: dict[tuple[str, frozenset[tuple[str, str]]], dict[float, float]] = defaultdict(dict)
    counts: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in families:
        for sample in family.samples if family.type == "histogram" else ():
            labels = dict(sample.labels)
            bound = float(labels.pop("le", "nan"))
            key = family.name, frozenset(labels.items())
            if sample.name.endswith("_bucket"):
                buckets[key][bound] = sample.value
            elif sample.name.endswith("_count"):
                counts[key] = sample.value
    faults = []
    for key, sums in buckets.items():
        values = [sums[bound] for bound in sorted(sums)]
        if values != sorted(values) or sums.get(math.inf) != counts.get(key):
            faults.append(f"{key[0]}{dict(key[1])}")
    return len(buckets), faults
