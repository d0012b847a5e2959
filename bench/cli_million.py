"""``collab-bench million``."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import click

from bench.cli_report import write_page
from bench.errors import BenchError
from bench.million import FILES_APART, Limits, node_scenario, outcome, shares, told
from bench.onenode import job
from bench.peers.catalog import PEERS, Running, ours_installed, start
from bench.plan import Assumed, plan
from bench.run import RunOptions, child_environment, machine

_LINE_BYTES_MAX = 256 * 1024 * 1024
_STOP_TIMEOUT_S = 10
_SHOW_EVERY_S = 5


@click.command(name="million", short_help="Hold many connections, and plan for a million.")
@click.option(
    "--connections", default=4000, show_default=True, type=click.IntRange(4), help="All nodes together."
)
@click.option("--nodes", default=2, show_default=True, type=click.IntRange(1, 1000), help="Server processes.")
@click.option("--clients-per-room", default=4, show_default=True, type=click.IntRange(2, 1000))
@click.option("--rate", default=0.1, show_default=True, help="Edits a second of each connection.")
@click.option(
    "--connects-per-s", default=500.0, show_default=True, help="New connections a second, all nodes."
)
@click.option("--idle", "idle_s", default=10.0, show_default=True, help="Seconds without edits.")
@click.option("--trickle", "trickle_s", default=20.0, show_default=True, help="Measured seconds with edits.")
@click.option("--plan-connections", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--plan-messages-per-s", default=100_000.0, show_default=True)
@click.option("--reserve", default=0.30, show_default=True, type=click.FloatRange(0, 0.95))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Everything as JSON.")
def million_command(
    connections: int,
    nodes: int,
    clients_per_room: int,
    rate: float,
    connects_per_s: float,
    idle_s: float,
    trickle_s: float,
    plan_connections: int,
    plan_messages_per_s: float,
    reserve: float,
    json_file: Path | None,
) -> int:
    """Hold many connections on many nodes, with live rooms and a trickle of edits, and plan for a million.

    Measures memory and CPU per connection on this machine, and computes from that what --plan-connections
    and --plan-messages-per-s take. What was measured is printed apart from what was computed.
    """
    files = _raise_file_limit()
    parts = shares(connections, nodes, clients_per_room)
    limits = Limits(files, _memory_available(), nodes, max(20_000, *parts))
    most, why = limits.connections_max()
    if sum(parts) > most:
        raise BenchError(f"--connections {sum(parts):,}: this machine takes {most:,} ({why})")
    click.echo(f"{sum(parts):,} connections on {nodes} nodes; the most here: {most:,} ({why})", err=True)
    options = RunOptions(processes=max(1, -(-max(parts) // (files - FILES_APART))), check_replicas_max=100)
    scenarios = [
        node_scenario(part, clients_per_room, connects_per_s / nodes, idle_s, trickle_s, rate)
        for part in parts
    ]
    installed = ours_installed({"connections_max": limits.connections_per_node})
    peer = next(peer for peer in PEERS if peer.is_ours)
    running: list[Running] = []
    try:
        for _ in range(nodes):
            running.append(start(peer, installed))  # noqa: PERF401 - those started are stopped when one fails
        jobs = [job(scenario, one.target, options) for scenario, one in zip(scenarios, running, strict=True)]
        results = asyncio.run(_all(jobs))
    finally:
        for one in running:
            one.stop()
    found = outcome(results, clients_per_room)
    assumed = Assumed(connections=plan_connections, messages_per_s=plan_messages_per_s, reserve=reserve)
    lines = plan(found.measured, assumed)
    text = told(found, assumed, lines)
    click.echo(text)
    if json_file:
        data = {
            "format": "collab-bench-million/1",
            "harness": machine(),
            "measured": dataclasses.asdict(found.measured),
            "assumed": dataclasses.asdict(assumed),
            "computed": [dataclasses.asdict(line) for line in lines],
            "failures": found.failures,
            "invalid": found.invalid,
            "text": text,
            "nodes": results,
        }
        write_page(json_file, json.dumps(data, indent=1))
    return 1 if found.failures else 3 if found.invalid else 0


def _raise_file_limit() -> int:
    """As many open files as the system lets this process and its children have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _memory_available() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


async def _all(jobs: list[bytes]) -> list[dict[str, Any]]:
    """Run the generators of all nodes at once; their results in order."""
    state: dict[int, dict[str, Any]] = {}
    async with contextlib.AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_generator()) for _ in jobs]
        showing = asyncio.create_task(_show(state))
        stack.callback(showing.cancel)
        return await asyncio.gather(
            *(_one(at, process, jobs[at], state) for at, process in enumerate(processes))
        )


@contextlib.asynccontextmanager
async def _generator() -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.onenode",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env=child_environment(), limit=_LINE_BYTES_MAX, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _one(
    at: int, process: asyncio.subprocess.Process, work: bytes, state: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
    process.stdin.write(work)
    async for raw in process.stdout:
        line = json.loads(raw)
        if "progress" in line:
            state[at] = line["progress"]
        elif "error" in line:
            raise BenchError(f"node {at}: {line['error']}")
        else:
            result: dict[str, Any] = line["result"]
            await process.wait()
            return result
    raise BenchError(f"node {at}: its generator ended without a result")


async def _show(state: dict[int, dict[str, Any]]) -> None:
    while True:
        await asyncio.sleep(_SHOW_EVERY_S)
        now = list(state.values())
        if now:
            connected = sum(each["connected"] for each in now)
            delivered = sum(each["delivered_per_s"] for each in now)
            memory = sum(each["server_rss_bytes"] or 0 for each in now) / 1024**2
            stage = now[0]["stage"] if now[0]["phase"] == "running" else now[0]["phase"]
            click.echo(
                f"  {now[0]['elapsed_s']:4.0f} s  {stage:12} {connected:>9,} connections  "
                f"{delivered:>8,.0f} deliveries/s  nodes {memory:,.0f} MiB",
                err=True,
            )
