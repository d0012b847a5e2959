"""Results as a run writes them, made up: for tests of what reads them."""

from __future__ import annotations

from typing import Any

from bench.histogram import Histogram
from bench.result import FORMAT, RunResult, times_of


def made_up(
    label: str = "a server",
    *,
    latency_ms: float = 2.0,
    seconds: int = 20,
    clients: int = 40,
    cpu_percent: float = 10.0,
    idle_until_s: int = 0,
    reasons: tuple[str, ...] = (),
    failures: tuple[str, ...] = (),
    scenario: str = "typing",
) -> RunResult:
    """A run of ``seconds`` with 100 deliveries in each, of which the last ten are measured."""
    latency, nothing = Histogram(), Histogram()
    for step in range(1, 1001):
        latency.record(latency_ms * step)
    measured_from = seconds - 10
    each: list[Any] = [None] * seconds
    stages = [("ramp", 0, measured_from, False), ("hold", measured_from, seconds, True)]
    if idle_until_s:
        stages = [("hold-idle", 0, idle_until_s, False), ("hold-trickle", idle_until_s, seconds, True)]
    cpus = [1.0 if second < idle_until_s else cpu_percent for second in range(seconds)]
    return RunResult(
        run_id="r",
        started_at="2026-01-01T00:00:00+00:00",
        label=label,
        harness={"version": "1", "python": "3.11", "machine": {"cpus": 2, "cpu_model": "a processor"}},
        scenario={
            "name": scenario,
            "summary": "People type.",
            "clients": clients,
            "clients_per_room": 4,
            "edits": {"rate_per_s": 5.0},
        },
        target={"urls": ["ws://127.0.0.1:4000"], "label": label},
        options={},
        duration_s=seconds,
        measured_s=10,
        stages=[
            {
                "name": name,
                "begin_s": begin,
                "end_s": end,
                "measured": counts,
                "sent": 10,
                "delivered": 1000 if counts else 0,
                "latency": times_of(latency if counts else nothing),
            }
            for name, begin, end, counts in stages
        ],
        counts={
            **dict.fromkeys(("lost", "duplicated", "reordered", "unconverged", "connections_failed"), 0),
            **dict.fromkeys(("connections_dropped", "errors", "caught_up", "superseded", "reconnects"), 0),
            "awareness_lost": 0,
            "connections_opened": clients,
            "replicas_compared": clients,
            "clients": clients,
            "rooms": clients // 4,
            "sent": 500,
            "delivered": 1000,
            "bytes_sent": 5000,
            "frames_sent": 500,
        },
        measured={"sent": 500, "delivered": 1000, "awareness_delivered": 0, "bytes_received": 20_000},
        latency=times_of(latency),
        awareness=times_of(nothing),
        connect=times_of(latency),
        join=times_of(nothing),
        reconnect=times_of(nothing),
        series={
            "second": list(range(seconds)),
            "connected": [clients] * seconds,
            "sent": [50] * seconds,
            "delivered": [100] * seconds,
            "awareness_delivered": each,
            "bytes_received": [2000] * seconds,
            "p50_ms": [latency_ms / 2] * seconds,
            "p99_ms": [latency_ms] * (seconds - 1) + [None],
            "max_ms": [latency_ms] * seconds,
            "generator_cpu_percent": [20.0] * seconds,
            "generator_lag_ms": [0.5] * seconds,
            "server_cpu_percent": cpus,
            "server_rss_bytes": [80_000_000] * seconds,
            "server_connections": [clients] * seconds,
        },
        server={
            "cpu_percent": cpu_percent,
            "cpu_us_per_delivery": 1000 * cpu_percent / 10,
            "rss_before_bytes": 70_000_000,
            "rss_max_bytes": 80_000_000,
            "bytes_per_connection": 10_000,
            "metrics_before": {},
        },
        generator={
            "cpu_percent_max": 20.0,
            "lag_p99_ms": 0.5,
            "lag_max_ms": 1.0,
            "bytes_per_connection": 6000,
        },
        validity={"valid": not reasons, "reasons": list(reasons)},
        failures=list(failures),
        format=FORMAT,
    )
