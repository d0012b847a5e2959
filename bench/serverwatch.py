"""The server seen from outside while it is under load: /proc, and its /metrics if it has some."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from bench.errors import BenchError
from bench.processes import cpu_s, family, listeners, resident_bytes, waited_s
from bench.target import Target, address_of, is_loopback

_SCRAPE_TIMEOUT_S: Final = 2.0
_SAMPLE: Final = re.compile(r"^([A-Za-z_:][\w:]*(?:\{[^}]*\})?)\s+(\S+)", re.MULTILINE)
_FAMILY_EVERY: Final = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. ``cpu_s`` and ``waited_s`` are totals of all processes watched."""

    cpu_s: float
    waited_s: float
    rss_bytes: int
    metrics: dict[str, float] = field(default_factory=dict)


class ServerWatch:
    """Looks at the processes of a target when told to."""

    def __init__(self, target: Target) -> None:
        self._ops_url = target.ops_url
        self._roots = list(target.pids)
        if not self._roots:
            for url in target.urls:
                host, port, _ = address_of(url)
                if is_loopback(host):
                    self._roots += [pid for pid in listeners(port) if pid not in self._roots]
        self._pids: list[int] = []
        self._gone: dict[int, float] = {}
        self._last_cpu_s: dict[int, float] = {}
        self._looks = 0
        self.pids = self._roots

    @property
    def sees_processes(self) -> bool:
        """Whether there is anything to look at in /proc."""
        return bool(self._roots)

    async def look(self) -> Sample:
        """CPU, memory and metrics now."""
        if self._looks % _FAMILY_EVERY == 0:
            self._pids = family(self._roots)
        self._looks += 1
        rss = 0
        waited = 0.0
        for pid in self._pids:
            try:
                self._last_cpu_s[pid] = cpu_s(pid)
            except OSError:
                continue  # it has ended; what it used stays in the sum
            rss += resident_bytes(pid)
            waited += waited_s(pid)
        metrics = await self.scrape() if self._ops_url else {}
        return Sample(sum(self._last_cpu_s.values()), waited, rss, metrics)

    async def scrape(self) -> dict[str, float]:
        """All samples of /metrics; empty when it does not answer."""
        assert self._ops_url is not None  # noqa: S101
        parts = urlsplit(self._ops_url)
        if parts.scheme != "http" or not parts.hostname:
            raise BenchError(
                f"not an address of metrics: {self._ops_url!r}; it looks like http://127.0.0.1:4001"
            )
        try:
            async with asyncio.timeout(_SCRAPE_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
                path = parts.path.rstrip("/") or "/metrics"
                writer.write(
                    f"GET {path} HTTP/1.0\r\nHost: {parts.hostname}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = (await reader.read()).decode(errors="replace")
                writer.close()
        except OSError:
            return {}
        head, _, body = answer.partition("\r\n\r\n")
        if " 200 " not in head.partition("\r\n")[0] + " ":
            return {}
        found: dict[str, float] = {}
        for name, value in _SAMPLE.findall(body):
            try:
                found[name] = float(value)
            except ValueError:
                continue
        return found


def server_figures(
    samples: list[Sample | None],
    before: Sample | None,
    after: Sample | None,
    measured: list[bool],
    delivered: int,
    connected: list[int],
) -> dict[str, Any]:
    """The ``server`` part of a result. ``samples[n]`` was taken at the end of second ``n``."""
    figures: dict[str, Any] = dict.fromkeys(
        (
            *("cpu_s", "cpu_percent", "cpu_us_per_delivery", "wait_percent"),
            *("rss_before_bytes", "rss_max_bytes", "rss_end_bytes", "bytes_per_connection"),
        )
    )
    figures["metrics_before"] = before.metrics if before else {}
    figures["metrics_after"] = after.metrics if after else {}
    if before is None or after is None or not before.rss_bytes:
        return figures
    cpu = waited = seconds = 0.0
    previous: Sample | None = before
    for number, sample in enumerate(samples):
        if sample is not None and previous is not None and number < len(measured) and measured[number]:
            cpu += sample.cpu_s - previous.cpu_s
            waited += sample.waited_s - previous.waited_s
            seconds += 1
        previous = sample
    levels = [sample.rss_bytes for sample in samples if sample is not None]
    figures["rss_before_bytes"] = before.rss_bytes
    figures["rss_max_bytes"] = max([before.rss_bytes, *levels])
    figures["rss_end_bytes"] = after.rss_bytes
    if seconds:
        figures["cpu_s"] = round(cpu, 3)
        figures["cpu_percent"] = round(100 * cpu / seconds, 1)
        figures["wait_percent"] = round(100 * waited / seconds, 1)
        if delivered:
            figures["cpu_us_per_delivery"] = round(cpu / delivered * 1e6, 3)
    if connected and (most := max(connected)):
        full = [
            sample.rss_bytes
            for sample, count in zip(samples, connected, strict=False)
            if sample is not None and count >= most * 0.99
        ]
        if full:
            figures["bytes_per_connection"] = round((full[-1] - before.rss_bytes) / most)
    return figures
