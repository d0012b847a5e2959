"""A result for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.progress import figure
from bench.result import RunResult
from bench.thresholds import Threshold

_MIB = 1 << 20


def text_of(result: RunResult, violated: Sequence[Threshold] = ()) -> str:
    """Some lines of figures, and then what is wrong."""
    counts, server, generator = result.counts, result.server, result.generator
    figures = result.summary()
    lines = [
        f"{result.scenario['name']} on {result.label}: {counts['clients']} clients, {counts['rooms']} rooms, "
        f"{result.measured_s:g} s measured",
    ]
    for name, times in _times(result):
        if times["count"]:
            lines.append(
                f"  {name:<12} p50 {figure(times['p50_ms'])}  p90 {figure(times['p90_ms'])}  "
                f"p99 {figure(times['p99_ms'])}  p99.9 {figure(times['p999_ms'])}  "
                f"max {figure(times['max_ms'])} ms  ({times['count']:,})"
            )
    lines += [
        f"  {'throughput':<12} {figure(figures['sent_per_s'], ' sent/s', 0)}, "
        f"{figure(figures['deliveries_per_s'], ' deliveries/s', 0)}, "
        f"{figure(figures['awareness_deliveries_per_s'], ' awareness deliveries/s', 0)}",
        f"  {'server':<12} {figure(server['cpu_percent'], ' % of a core')}, "
        f"{figure(server['cpu_us_per_delivery'], ' us of CPU per delivery', 2)}, "
        f"{figure(None if server['rss_max_bytes'] is None else server['rss_max_bytes'] / _MIB, ' MiB')}, "
        f"{figure(server['bytes_per_connection'], ' bytes per connection', 0)}",
        f"  {'generator':<12} {figure(generator['cpu_percent_max'], ' % of a core')}, "
        f"messages late by {figure(generator['lag_p99_ms'], ' ms')} (p99), "
        f"{figure(generator['bytes_per_connection'], ' bytes per connection', 0)}",
        f"  {'books':<12} {counts['lost']} lost, {counts['duplicated']} duplicated, "
        f"{counts['unconverged']} of {counts['replicas_compared']} replicas unconverged, "
        f"{counts['connections_dropped']} connections dropped, {counts['reordered']} out of order",
    ]
    lines += [f"  note: {note}" for note in result.notes]
    lines += [f"  INVALID: {reason}" for reason in result.validity["reasons"]]
    lines += [f"  FAILED: {failure}" for failure in result.failures]
    lines += [
        f"  FAILED: {threshold} (it is {figure(figures[threshold.figure], digits=3)})"
        for threshold in violated
    ]
    if result.passed and result.is_valid and not violated:
        lines.append("  passed")
    return "\n".join(lines)


def _times(result: RunResult) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("latency", result.latency),
        ("awareness", result.awareness),
        ("connect", result.connect),
        ("join", result.join),
        ("reconnect", result.reconnect),
    ]
