"""From what one machine was measured to do, to what a million connections take. Arithmetic only.

Each line of a plan says how it was computed; what was measured and what was assumed are separate types, so
that they cannot be mixed up when they are printed.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

_GIB = 1024**3
_DAY_S = 86_400


def _say(text: str, unit: str = "") -> Any:
    return field(metadata={"text": text, "unit": unit})


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run on this machine showed."""

    connections: int = _say("connections held")
    nodes: int = _say("node processes")
    members_per_room: float = _say("connections in a room")
    node_base_bytes: float = _say("resident memory of a node without connections", "bytes")
    bytes_per_connection: float = _say(
        "resident memory per connection, its share of the room included", "bytes"
    )
    idle_cpu_us_per_connection_s: float = _say("CPU of one idle connection in a second", "us")
    cpu_us_per_delivery: float = _say("CPU per delivered update, its reception and the store included", "us")
    deliveries_per_message: float = _say("deliveries of one message")
    bytes_in_per_message: float = _say("a message's frame as sent by a client", "bytes")
    bytes_out_per_delivery: float = _say("what the server sent for one delivery", "bytes")


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the plan takes for granted, and where that comes from."""

    connections: int = field(
        default=1_000_000, metadata={"text": "connections", "why": "the product's figure"}
    )
    messages_per_s: float = field(
        default=100_000, metadata={"text": "messages/s from clients", "why": "the product's figure"}
    )
    reserve: float = field(
        default=0.30,
        metadata={"text": "share of everything that stays free", "why": "failures, peaks, deployments"},
    )
    connections_per_node_max: int = field(
        default=10_000, metadata={"text": "connections of a node at most", "why": "the product's figure"}
    )
    shared_rooms: float = field(
        default=1.0,
        metadata={
            "text": "share of the messages that cross the bus",
            "why": "worst case: no affinity of rooms to nodes",
        },
    )
    nodes_per_room: float = field(
        default=2.0,
        metadata={"text": "nodes that host a shared room", "why": "a load balancer that hashes rooms"},
    )
    bus_cpu_us_per_update: float = field(
        default=10.0,
        metadata={
            "text": "CPU us of a node per update written to or read from the bus",
            "why": "9 at 20,000/s, for who writes as for who reads (bench.bus)",
        },
    )
    redis_updates_per_s_per_shard: float = field(
        default=100_000,
        metadata={"text": "updates/s through one Redis", "why": "measured on its own: p99 0.44 ms there"},
    )
    redis_window_s: float = field(
        default=60,
        metadata={"text": "seconds of updates that Redis keeps", "why": "longer than a node's restart"},
    )
    redis_bytes_per_update: float = field(
        default=160,
        metadata={"text": "bytes of an update in a stream", "why": "about 100 bytes and its envelope"},
    )
    postgres_rows_per_s: float = field(
        default=28_000,
        metadata={
            "text": "rows/s that one PostgreSQL commits",
            "why": "one connection, rows in tens, fsync on",
        },
    )
    rows_per_message: float = field(
        default=1.0, metadata={"text": "rows per message", "why": "worst case: nothing of a room is gathered"}
    )
    row_bytes: float = field(
        default=250, metadata={"text": "bytes of a row with index and WAL", "why": "100 bytes of update"}
    )
    packet_overhead_bytes: float = field(
        default=95, metadata={"text": "TCP, IP, Ethernet and TLS around a frame", "why": "20 + 20 + 26 + 29"}
    )
    acks_per_frame: float = field(
        default=1.0,
        metadata={"text": "bare TCP acknowledgements per frame", "why": "nothing to ride on, at the worst"},
    )
    kernel_bytes_per_connection: float = field(
        default=5_000, metadata={"text": "kernel memory of a socket", "why": "measured on its own, idle"}
    )


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of the plan."""

    name: str
    value: float
    unit: str
    how: str


def plan(measured: Measured, assumed: Assumed) -> list[Line]:
    """What the assumed load takes, with the reserve, if each further node behaves as the measured ones."""
    keep = 1 - assumed.reserve
    if not 0 < keep <= 1:
        raise ValueError("the reserve is a share from 0 to below 1")
    lines: list[Line] = []

    def line(name: str, value: float, unit: str, how: str) -> float:
        lines.append(Line(name, value, unit, how))
        return value

    deliveries = line(
        "deliveries",
        assumed.messages_per_s * measured.deliveries_per_message,
        "/s",
        f"{assumed.messages_per_s:,.0f} messages/s x {measured.deliveries_per_message:.2f}",
    )
    crossing = assumed.messages_per_s * assumed.shared_rooms
    idle_cores = line(
        "CPU of idle connections",
        assumed.connections * measured.idle_cpu_us_per_connection_s / 1e6,
        "cores",
        f"{assumed.connections:,} x {measured.idle_cpu_us_per_connection_s:.1f} us/s",
    )
    delivery_cores = line(
        "CPU of deliveries",
        deliveries * measured.cpu_us_per_delivery / 1e6,
        "cores",
        f"{deliveries:,.0f}/s x {measured.cpu_us_per_delivery:.1f} us",
    )
    bus_cores = line(
        "CPU of the bus in the nodes",
        crossing * assumed.nodes_per_room * assumed.bus_cpu_us_per_update / 1e6,
        "cores",
        f"{crossing:,.0f}/s x {assumed.nodes_per_room:g} nodes x {assumed.bus_cpu_us_per_update:g} us",
    )
    by_cpu = math.ceil((idle_cores + delivery_cores + bus_cores) / keep)
    by_connections = math.ceil(assumed.connections / (assumed.connections_per_node_max * keep))
    nodes = int(
        line(
            "nodes (one process, one core each)",
            max(by_cpu, by_connections),
            "",
            f"the larger of {by_cpu} by CPU and {by_connections} by connections, each with the reserve",
        )
    )
    line(
        "cores of the nodes",
        nodes,
        "cores",
        "one a node; worker processes for compaction use what is left over",
    )
    line("connections of a node", assumed.connections / nodes, "", f"{assumed.connections:,} / {nodes}")
    a_node = (
        measured.node_base_bytes
        + assumed.connections / nodes * (measured.bytes_per_connection + assumed.kernel_bytes_per_connection)
    ) / keep
    line(
        "memory of a node", a_node / _GIB, "GiB", "base + connections x (resident + kernel), with the reserve"
    )
    line("memory of all nodes", a_node * nodes / _GIB, "GiB", f"x {nodes}")
    line(
        "Redis shards",
        max(1, math.ceil(crossing / (assumed.redis_updates_per_s_per_shard * keep))),
        "",
        f"{crossing:,.0f}/s over {assumed.redis_updates_per_s_per_shard:,.0f}/s each, with the reserve",
    )
    line(
        "Redis memory",
        crossing * assumed.redis_window_s * assumed.redis_bytes_per_update / keep / _GIB,
        "GiB",
        f"{assumed.redis_window_s:g} s of updates, with the reserve",
    )
    rows = line(
        "PostgreSQL rows",
        assumed.messages_per_s * assumed.rows_per_message,
        "/s",
        f"{assumed.rows_per_message:g} a message",
    )
    line(
        "PostgreSQL primaries",
        max(1, math.ceil(rows / (assumed.postgres_rows_per_s * keep))),
        "",
        f"{assumed.postgres_rows_per_s:,.0f} rows/s each, with the reserve",
    )
    line("PostgreSQL writes", rows * assumed.row_bytes / 1e6, "MB/s", f"{assumed.row_bytes:g} bytes a row")
    line(
        "PostgreSQL writes of a day, before compaction",
        rows * assumed.row_bytes * _DAY_S / 1e12,
        "TB",
        "if the load lasted all day",
    )
    overhead = assumed.packet_overhead_bytes * (1 + assumed.acks_per_frame)
    inward = assumed.messages_per_s * (measured.bytes_in_per_message + overhead)
    outward = deliveries * (measured.bytes_out_per_delivery + overhead)
    line(
        "network in",
        inward * 8 / 1e9 / keep,
        "Gbit/s",
        "frames, headers and acknowledgements, with the reserve",
    )
    line(
        "network out",
        outward * 8 / 1e9 / keep,
        "Gbit/s",
        "the same; twice this when nodes sit behind a proxy",
    )
    line("network of a node", (inward + outward) * 8 / 1e6 / keep / nodes, "Mbit/s", "both directions")
    return lines


def measured_lines(measured: Measured) -> list[tuple[str, float, str]]:
    """What was measured: text, value, unit."""
    return [
        (str(f.metadata["text"]), float(getattr(measured, f.name)), str(f.metadata["unit"]))
        for f in dataclasses.fields(measured)
    ]


def assumed_lines(assumed: Assumed) -> list[tuple[str, float, str]]:
    """What was assumed: text, value, reason."""
    return [
        (str(f.metadata["text"]), float(getattr(assumed, f.name)), str(f.metadata["why"]))
        for f in dataclasses.fields(assumed)
    ]
