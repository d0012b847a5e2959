"""Counters and histograms for the hot path: plain integers that are read when somebody scrapes.

A ``prometheus_client`` counter takes a lock for each step. Here a step is an addition on an object that the
caller already holds. The price is that these may be touched from the event loop's thread only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Flow:
    """Messages of one kind in one direction. Add to both fields; they only grow."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0

    def add(self, bytes_count: int, messages: int = 1) -> None:
        """Count ``messages`` messages of ``bytes_count`` bytes together."""
        self.messages += messages
        self.bytes += bytes_count


class Distribution:
    """A histogram: how many values fell up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, or the same value for ``times`` recipients at once."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many values were observed."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """The cumulative counts by upper bound, as Prometheus wants them."""
        cumulative = 0
        result: list[tuple[str, float]] = []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            cumulative += count
            result.append(("+Inf" if bound == float("inf") else str(float(bound)), float(cumulative)))
        return result


class FlowCollector(Collector):
    """Exports flows by kind as two counters, ``<prefix>_messages_<way>`` and ``<prefix>_bytes_<way>``."""

    def __init__(self, way: str, flows: Mapping[str, Flow], help_text: str) -> None:
        self._way = way
        self._flows = flows
        self._help = help_text

    def collect(self) -> Iterator[Metric]:
        """Read the counters as they are now."""
        messages = CounterMetricFamily(
            f"collab_messages_{self._way}", f"Messages {self._help}.", labels=["kind"]
        )
        size = CounterMetricFamily(
            f"collab_bytes_{self._way}", f"Payload bytes {self._help}.", labels=["kind"]
        )
        for kind, flow in self._flows.items():
            messages.add_metric([kind], flow.messages)
            size.add_metric([kind], flow.bytes)
        yield messages
        yield size


class DistributionCollector(Collector):
    """Exports one distribution, or several by the value of one label."""

    def __init__(self, name: str, help_text: str, parts: Mapping[str, Distribution], label: str = "") -> None:
        self._name = name
        self._help = help_text
        self._parts = parts
        self._label = label

    def collect(self) -> Iterator[Metric]:
        """Read the histogram as it is now."""
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label] if self._label else [])
        for value, part in self._parts.items():
            family.add_metric([value] if self._label else [], part.buckets(), part.total)
        yield family
