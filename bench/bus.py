"""What many nodes cost: ``python -m bench.bus [--url REDIS] [--json FILE]``. Takes less than three minutes.

- **Through nodes** (``bench.hop``): real ``collab-server`` processes that share a PostgreSQL and a Redis, and
  real WebSocket clients. What the way to another node adds; CPU of an edit on the node that sends, on those
  that receive, and of Redis; from 2 to 8 nodes, and beside a node without a bus.
- **The bus alone** (``bench.busload``): the same without sockets, rooms and store, up to 20,000 updates/s.
- **A command** (``bench.command_cost``): our own link beside redis-py.

Redis is a private Valkey, or the one at ``--url``, where keys of our own are written and removed; PostgreSQL
is a private one, or that of ``COLLAB_TEST_POSTGRES_DSN``. All measurements take turns, so that they share the
noise; figures are medians. Trust the ratios: generator, nodes and servers share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from bench import busload, command_cost, hop
from bench.busload import Load, Nodes, Server, fresh_prefix
from bench.command import Tell, options, run
from bench.command_cost import CommandCost
from bench.errors import BenchError
from bench.hop import Crowd, Hop, Node
from bench.peers.process import ServerProcess, free_port
from bench.store_tables import machine, table
from collab_server.openfiles import raise_limit
from tests.support.postgres import PostgresMissingError, PostgresServer
from tests.support.valkey import Valkey, ValkeyMissingError

SLOW_PER_S = 1_000
FAST_PER_S = 20_000
TRIED_PER_S = (20_000, 10_000, 5_000, 2_500)
"""Through nodes, the first of these that the machine holds is measured."""
NODES = (2, 4, 8)
PROBE_S = 1.5
IDLE_S = 3.0
SETTLE_S = 2.0
_START = "import sys; from collab_server.cli import main; sys.exit(main())"


@dataclass
class Measured:
    """All figures."""

    machine: str
    redis: str
    hops: list[Hop] = field(default_factory=list)
    unheld: list[Hop] = field(default_factory=list)
    """Rates that were tried and are beyond this machine."""
    loads: list[Load] = field(default_factory=list)
    commands: list[CommandCost] = field(default_factory=list)


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[str]:
    """Where the nodes keep their rooms; its address."""
    async with contextlib.AsyncExitStack() as exits:
        server = await asyncio.to_thread(PostgresServer.start)
        exits.callback(server.stop)
        name = await server.create_database()
        exits.push_async_callback(server.drop_database, name)
        yield server.database_dsn(name)


@contextlib.asynccontextmanager
async def cluster(count: int, store: str, server: Server | None) -> AsyncIterator[list[Node]]:
    """So many nodes, which share a bus; without a server, each is alone."""
    prefix = fresh_prefix(f"nodes-{count}")
    bus = {"bus": server.url, "bus_prefix": prefix} if server is not None else {}
    async with contextlib.AsyncExitStack() as exits:
        if server is not None:
            exits.callback(server.forget, prefix)
        processes = []
        for number in range(count):
            port = free_port()
            settings = {
                "port": port,
                "ops_port": free_port(),
                "store": store,
                "log_format": "json",
                **({**bus, "node_name": f"node-{number}"} if bus else {}),
            }
            env = {f"COLLAB_{key.upper()}": str(value) for key, value in settings.items()}
            process = ServerProcess(f"node {number}", (sys.executable, "-c", _START, "serve"), port, env)
            exits.push_async_callback(asyncio.to_thread, process.stop)
            processes.append(process)
        for process in processes:
            await asyncio.to_thread(process.wait_listening)
        yield [Node(process.port, process.pid) for process in processes]


@contextlib.asynccontextmanager
async def steady() -> AsyncIterator[None]:
    """Nothing here makes cycles while it runs, and a pause of ours would be taken for the servers'."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        await asyncio.sleep(SETTLE_S)
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def measure_hops(found: Measured, server: Server, seconds: float, repeats: int, tell: Tell) -> None:
    """Through nodes."""
    async with database() as store:
        await _measure_pair(found, server, store, seconds, repeats, tell)
        for count in NODES[1:]:
            tell(f"starting {count} nodes")
            async with cluster(count, store, server) as nodes:
                crowd = Crowd(f"{count}", nodes, server, SLOW_PER_S)
                await crowd.connect()
                async with steady():
                    await _learn_idle([crowd])
                    tell(f"{repeats} runs of {SLOW_PER_S} edits/s on {count} nodes")
                    hops = [await crowd.measure(SLOW_PER_S, seconds) for _ in range(repeats)]
                found.hops.append(hop.median(hops))


async def _measure_pair(
    found: Measured, server: Server, store: str, seconds: float, repeats: int, tell: Tell
) -> None:
    """A node that is alone, beside two that are not."""
    tell("starting 3 nodes")
    async with cluster(1, store, None) as alone, cluster(2, store, server) as pair:
        crowds = {
            (per_s, count): Crowd(f"{count}-{per_s}", nodes, server, per_s)
            for per_s in (SLOW_PER_S, FAST_PER_S)
            for count, nodes in ((1, alone), (2, pair))
        }
        for (per_s, count), crowd in crowds.items():
            tell(f"connecting the clients of {per_s} edits/s on {count} nodes")
            await crowd.connect()
        async with steady():
            await _learn_idle(list(crowds.values()))
            fast = await _find_rate(found, crowds[FAST_PER_S, 2], tell)
            runs: dict[tuple[int, int], list[Hop]] = {}
            for number in range(repeats):
                for (per_s, count), crowd in crowds.items():
                    rate = per_s if per_s == SLOW_PER_S else fast
                    if rate:
                        tell(f"run {number + 1} of {repeats}: {rate} edits/s on {count} nodes")
                        runs.setdefault((rate, count), []).append(await crowd.measure(rate, seconds))
    found.hops += [hop.median(hops) for hops in runs.values()]


async def _find_rate(found: Measured, crowd: Crowd, tell: Tell) -> int:
    """The first of the rates that this machine holds; 0 if there is none."""
    for rate in TRIED_PER_S:
        tell(f"trying {rate} edits/s through 2 nodes")
        probe = await crowd.measure(rate, PROBE_S)
        await asyncio.sleep(SETTLE_S / 2)
        if probe.holds:
            return rate
        found.unheld.append(probe)
    return 0


async def _learn_idle(crowds: Sequence[Crowd]) -> None:
    before = [crowd.used_s() for crowd in crowds]
    began = time.monotonic()
    await asyncio.sleep(IDLE_S)
    passed_s = time.monotonic() - began
    for crowd, was in zip(crowds, before, strict=True):
        used = [now - then for now, then in zip(crowd.used_s(), was, strict=True)]
        crowd.learn_idle(passed_s, used)


async def measure_loads(found: Measured, server: Server, seconds: float, repeats: int, tell: Tell) -> None:
    """The bus alone."""
    runs: dict[tuple[int, int], list[Load]] = {}
    async with contextlib.AsyncExitStack() as exits:
        groups = [
            await exits.enter_async_context(Nodes(server, fresh_prefix(f"bus-{count}"), count).running())
            for count in NODES
        ]
        for number in range(repeats):
            for per_s in (SLOW_PER_S, FAST_PER_S):
                for nodes in groups:
                    tell(f"run {number + 1} of {repeats}: {per_s} updates/s, {nodes.count} buses")
                    runs.setdefault((per_s, nodes.count), []).append(await nodes.measure(per_s, seconds))
    found.loads = [busload.median(loads) for _, loads in sorted(runs.items())]


async def bench(arguments: argparse.Namespace, tell: Tell) -> Measured:
    """All of it."""
    async with contextlib.AsyncExitStack() as exits:
        url = arguments.url
        if url is None:
            valkey = await asyncio.to_thread(Valkey.start)
            exits.callback(valkey.stop)
            url = valkey.url
        server = Server(url)
        exits.callback(server.close)
        found = Measured(machine(), server.name)
        await measure_hops(found, server, arguments.seconds, arguments.repeats, tell)
        await measure_loads(found, server, arguments.seconds, arguments.repeats, tell)
        tell("commands")
        found.commands = await command_cost.measure(url, fresh_prefix("commands"), arguments.repeats)
    return found


def tables(found: Measured) -> str:
    """All figures, as Markdown."""
    hops = table(
        [
            "nodes",
            "edits/s",
            "same node: p50 / p99 ms",
            "another node: p50 / p99 ms",
            "a hop adds: p50 / p99 ms",
            "us of CPU an edit: author's node",
            "each other node",
            "Redis",
        ],
        [
            [
                "1, no bus" if one.nodes == 1 else f"{one.nodes:.0f}",
                f"{one.per_s:,.0f}",
                f"{one.same_p50_ms:.1f} / {one.same_p99_ms:.1f}",
                *(
                    ["", ""]
                    if one.nodes == 1
                    else [
                        f"{one.hop_p50_ms:.1f} / {one.hop_p99_ms:.1f}",
                        f"{one.added_p50_ms:.1f} / {one.added_p99_ms:.1f}",
                    ]
                ),
                f"{one.sender_us:.0f}",
                *(["", ""] if one.nodes == 1 else [f"{one.receiver_us:.0f}", f"{one.redis_us:.0f}"]),
            ]
            for one in found.hops
        ],
    )
    unheld = [
        f"{one.per_s:,.0f} edits/s through {one.nodes:.0f} nodes are beyond this machine: "
        f"p99 to another node was {one.hop_p99_ms:.0f} ms, the generator's own lag {one.lag_p99_ms:.0f} ms, "
        f"{one.lost:,} were lost."
        for one in found.unheld
    ]
    lost = sum(one.lost for one in found.hops)
    loads = table(
        [
            "buses",
            "updates/s",
            "p50 / p99 ms",
            "us of CPU an update: sender",
            "each receiver",
            "Redis",
            "bytes in Redis",
            "updates an entry",
            "lost",
        ],
        [
            [
                f"{one.nodes:.0f}",
                f"{one.per_s:,.0f}",
                f"{one.p50_ms:.2f} / {one.p99_ms:.2f}",
                f"{one.sender_us:.0f}",
                f"{one.receiver_us:.0f}",
                f"{one.redis_us:.0f}",
                f"{one.redis_bytes:.0f}",
                f"{one.updates_per_entry:.1f}",
                f"{one.lost:,.0f}",
            ]
            for one in found.loads
        ],
    )
    commands = table(
        ["commands a pipeline", "our link: us of CPU a command", "redis-py", "ratio"],
        [
            [str(one.pipeline), f"{one.link_us:.1f}", f"{one.redis_py_us:.1f}", f"{one.ratio:.1f}"]
            for one in found.commands
        ],
    )
    parts = [
        f"{found.machine}. {found.redis}, PostgreSQL.",
        "Through nodes:",
        hops,
        *unheld,
        *([f"{lost:,} edits were lost."] if lost else []),
        "The bus alone:",
        loads,
        "A command:",
        commands,
    ]
    return "\n\n".join(parts)


def main() -> int:
    """The command."""
    parser = options("python -m bench.bus", "What many nodes cost.")
    parser.add_argument("--url", help="a Redis or Valkey (redis://...); else a private one is started")
    arguments = parser.parse_args()
    raise_limit()
    return run(arguments, bench, tables, (BenchError, PostgresMissingError, ValkeyMissingError))


if __name__ == "__main__":
    sys.exit(main())
