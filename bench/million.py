"""Many connections on many nodes of one machine: how the load is split, and what the runs together show.

Pure: it makes scenarios and reads results. ``cli_million`` starts the nodes and the generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.histogram import Histogram
from bench.plan import Assumed, Line, Measured, assumed_lines, measured_lines
from bench.scenario import Arrival, Edits, Scenario, Stage

FILES_APART = 200
"""Open files of a process that are no connections."""
_BYTES_PER_CONNECTION = 60_000
"""Generously: both processes and the kernel's two ends."""
_IDLE, _TRICKLE = "hold-idle", "hold-trickle"
_SETTLING_S = 1
"""Seconds at the begin of a stage that still show the one before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the machine and the processes allow."""

    files: int
    """Open files of one process."""
    memory_available_bytes: int
    nodes: int
    connections_per_node: int
    """What a node is set to take."""

    def connections_max(self) -> tuple[int, str]:
        """The most connections, and what forbids more."""
        by_files = (self.files - FILES_APART) * self.nodes
        by_memory = int(self.memory_available_bytes * 0.7) // _BYTES_PER_CONNECTION
        by_nodes = self.connections_per_node * self.nodes
        found = (
            (by_files, f"{self.files:,} open files a process on {self.nodes} nodes"),
            (by_memory, f"{self.memory_available_bytes / 1024**3:.1f} GiB of memory available"),
            (by_nodes, f"{self.nodes} nodes of {self.connections_per_node:,} connections"),
        )
        return min(found)


def shares(connections: int, nodes: int, per_room: int) -> list[int]:
    """How many connections each node gets: whole rooms, as equal as can be."""
    rooms = max(nodes, connections // per_room)
    each, more = divmod(rooms, nodes)
    return [(each + (1 if at < more else 0)) * per_room for at in range(nodes)]


def node_scenario(
    connections: int, per_room: int, connects_per_s: float, idle_s: float, trickle_s: float, rate_per_s: float
) -> Scenario:
    """Everybody connects, is quiet for a while, and then a little is written everywhere."""
    return Scenario(
        name="million",
        summary="Connections, and a trickle of edits through all rooms.",
        stages=(
            Stage("ramp", max(1.0, connections / connects_per_s), clients=1.0, rate=0.0),
            Stage("settle", 3.0, rate=0.0),
            Stage(_IDLE, idle_s, rate=0.0),
            Stage("begin", 0.0, rate=1.0),
            Stage(_TRICKLE, trickle_s, rate=1.0, measured=True),
        ),
        clients=connections,
        clients_per_room=per_room,
        settle_s=10.0,
        edits=Edits(rate_per_s=rate_per_s, arrival=Arrival.POISSON),
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """All nodes together."""

    measured: Measured
    latency: Histogram
    deliveries_per_s: float
    sent_per_s: float
    connect_p99_ms: float | None
    generator_bytes_per_connection: float | None
    node_rss_max_bytes: int
    failures: tuple[str, ...]
    invalid: tuple[str, ...]


def outcome(results: Sequence[dict[str, Any]], per_room: int) -> Outcome:
    """Put the results of the nodes together (as JSON has them). ValueError where none was watched."""
    if not results or any(r["server"].get("rss_before_bytes") is None for r in results):
        raise ValueError("the memory of the nodes is not known: they must run on this machine")
    connections = sum(max(r["series"]["connected"], default=0) for r in results)
    idle_us = trickle_us = idle_connection_s = trickle_s = 0.0
    for r in results:
        idle = _seconds(r, _IDLE)
        idle_us += sum(cpu for cpu, _ in idle) * 1e4  # a percent of a second is 10,000 us
        idle_connection_s += sum(connected for _, connected in idle)
        trickle = _seconds(r, _TRICKLE)
        trickle_us += sum(cpu for cpu, _ in trickle) * 1e4
        trickle_s += len(trickle)
    idle_rate = idle_us / idle_connection_s if idle_connection_s else 0.0
    measured_s = float(results[0]["measured_s"]) or 1.0
    delivered = sum(r["measured"]["delivered"] for r in results)
    sent = sum(r["measured"]["sent"] for r in results)
    # CPU of the seconds that were watched, for all of the stage; what idling costs is counted apart.
    busy_us = trickle_us / trickle_s * measured_s * len(results) if trickle_s else 0.0
    per_delivery = max(0.0, busy_us - idle_rate * connections * measured_s) / delivered if delivered else 0.0
    latency, connect = Histogram(), Histogram()
    for r in results:
        latency.add(Histogram.decode(r["latency"]["hdr"]))
        connect.add(Histogram.decode(r["connect"]["hdr"]))
    grown = sum(
        (r["server"].get("bytes_per_connection") or 0) * max(r["series"]["connected"], default=0)
        for r in results
    )
    own = [r["generator"].get("bytes_per_connection") for r in results]
    frames = sum(r["counts"]["frames_sent"] for r in results)
    measured = Measured(
        connections=connections,
        nodes=len(results),
        members_per_room=per_room,
        node_base_bytes=fmean(r["server"]["rss_before_bytes"] for r in results),
        bytes_per_connection=grown / connections if connections else 0.0,
        idle_cpu_us_per_connection_s=idle_rate,
        cpu_us_per_delivery=per_delivery,
        deliveries_per_message=delivered / sent if sent else 0.0,
        bytes_in_per_message=sum(r["counts"]["bytes_sent"] for r in results) / frames if frames else 0.0,
        bytes_out_per_delivery=(
            sum(r["measured"]["bytes_received"] for r in results) / delivered if delivered else 0.0
        ),
    )
    return Outcome(
        measured,
        latency,
        delivered / measured_s,
        sent / measured_s,
        connect.percentile(99) / 1000 if connect.count else None,
        fmean([value for value in own if value is not None]) if any(own) else None,
        max(int(r["server"]["rss_max_bytes"] or 0) for r in results),
        tuple(f"node {at}: {text}" for at, r in enumerate(results) for text in r["failures"]),
        tuple(f"node {at}: {text}" for at, r in enumerate(results) for text in r["validity"]["reasons"]),
    )


def _seconds(result: dict[str, Any], stage_name: str) -> list[tuple[float, int]]:
    """CPU percent and connections of each whole second of a stage that was watched."""
    stage = next((s for s in result["stages"] if s["name"] == stage_name), None)
    if stage is None:
        return []
    series = result["series"]
    return [
        (cpu, connected)
        for second, cpu, connected in zip(
            series["second"], series["server_cpu_percent"], series["connected"], strict=False
        )
        if cpu is not None and second >= stage["begin_s"] + _SETTLING_S and second + 1 <= stage["end_s"]
    ]


def told(found: Outcome, assumed: Assumed, lines: Sequence[Line]) -> str:
    """What was measured, what was assumed, and what was computed from both: apart from each other."""
    p50, p99 = found.latency.percentile(50) / 1000, found.latency.percentile(99) / 1000
    parts = ["MEASURED on this machine", *_rows(measured_lines(found.measured))]
    extra: list[tuple[str, float, str]] = [
        ("messages sent", found.sent_per_s, "/s"),
        ("messages delivered", found.deliveries_per_s, "/s"),
        ("latency, client to client, p50", p50, "ms"),
        ("latency, client to client, p99", p99, "ms"),
        ("largest node, resident", found.node_rss_max_bytes / 1024**2, "MiB"),
    ]
    if found.connect_p99_ms is not None:
        extra.append(("connecting, p99", found.connect_p99_ms, "ms"))
    if found.generator_bytes_per_connection is not None:
        extra.append(("generator's memory per connection", found.generator_bytes_per_connection, "bytes"))
    parts += _rows(extra)
    parts += [f"  INVALID: {text}" for text in found.invalid]
    parts += [f"  FAILED: {text}" for text in found.failures]
    parts += ["", "ASSUMED", *_rows(assumed_lines(assumed))]
    parts += ["", f"COMPUTED from these, with {assumed.reserve:.0%} in reserve; nobody has measured it"]
    width = max(len(line.name) for line in lines)
    parts += [
        f"  {line.name:{width}}  {figure(line.value):>12} {line.unit:7} {line.how}".rstrip() for line in lines
    ]
    return "\n".join(parts)


def _rows(rows: Sequence[tuple[str, float, str]]) -> list[str]:
    width = max(len(text) for text, _, _ in rows)
    return [f"  {text:{width}}  {figure(value):>12} {unit}".rstrip() for text, value, unit in rows]


def figure(value: float) -> str:
    """A number with three digits that matter."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
