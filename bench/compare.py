"""Several servers under the same loads, in turns, and what the medians say. It starts none of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.repeats import Repeats, ratio
from bench.scenario import Arrival, Edits, Scenario, Stage


@dataclass(frozen=True, slots=True)
class Case:
    """A load that all servers get."""

    key: str
    title: str
    scenario: Scenario
    is_idle: bool = False
    """Connections only: for memory, not for latency."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A column of the table."""

    name: str
    title: str
    digits: int = 1
    scale: float = 1.0
    is_cost: bool = True
    """Whether a ratio of it makes sense: ours over the other's, below 1 is better for us."""


LOADED = (
    Figure("p50_ms", "p50 ms", 2),
    Figure("p99_ms", "p99 ms", 2),
    Figure("p999_ms", "p99.9 ms", 2),
    Figure("deliveries_per_s", "deliveries/s", 0, is_cost=False),
    Figure("server_cpu_percent", "server CPU %", 1),
    Figure("server_cpu_us_per_delivery", "CPU us per delivery", 2),
    Figure("server_rss_mb", "memory MiB", 0),
)
IDLE = (
    Figure("server_bytes_per_connection", "KiB per connection", 1, 1 / 1024),
    Figure("server_rss_mb", "memory MiB", 0),
    Figure("server_cpu_percent", "server CPU %", 1),
)


@dataclass(frozen=True, slots=True)
class Run:
    """How one server bore one case in one round."""

    summary: dict[str, Any] | None
    """Figures by name; None when the run did not come about."""
    invalid: tuple[str, ...] = ()
    """Why it measured the generator or the machine rather than the server."""
    failures: tuple[str, ...] = ()
    """What was lost, duplicated, left unequal; or why there was no run."""

    @property
    def is_valid(self) -> bool:
        """Whether its figures are the server's."""
        return self.summary is not None and not self.invalid


@dataclass(slots=True)
class Table:
    """The runs of one case, server by server, one a round."""

    case: Case
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def add(self, server: str, run: Run) -> None:
        """Take in a run."""
        self.runs.setdefault(server, []).append(run)

    def has_valid(self, server: str) -> bool:
        """Whether any round of a server was valid."""
        return any(run.is_valid for run in self.runs.get(server, []))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Its columns."""
        return IDLE if self.case.is_idle else LOADED

    def values(self, server: str, figure: Figure) -> list[float | None]:
        """A figure of a server, round by round. Invalid rounds count only where there is no valid one."""
        any_valid = self.has_valid(server)
        found: list[float | None] = []
        for run in self.runs.get(server, []):
            value = (run.summary or {}).get(figure.name) if run.is_valid or not any_valid else None
            found.append(None if value is None else float(value) * figure.scale)
        return found

    def repeats(self, server: str, figure: Figure) -> Repeats | None:
        """A figure of a server over all rounds."""
        return Repeats.of(self.values(server, figure))

    def ratio(self, ours: str, other: str, figure: Figure) -> Repeats | None:
        """Ours over the other's, round by round."""
        return ratio(self.values(ours, figure), self.values(other, figure))


def turns(count: int, rounds: int) -> list[list[int]]:
    """In which order the servers run, round by round: each round begins with another one.

    What changes slowly on the machine (heat, a neighbour) then hits all of them alike.
    """
    return [[(first + at) % count for at in range(count)] for first in (r % count for r in range(rounds))]


def cases(keys: Sequence[str], hold_s: float, idle_connections: int, load: float = 1.0) -> list[Case]:
    """The loads of the comparison, with rates times ``load``. KeyError for one that there is not."""

    def typing(title: str, clients: int, per_room: int, rate: float) -> Scenario:
        stages = (
            Stage("ramp", 2.0, clients=1.0, rate=0.0),
            Stage("warm", 1.0, rate=1.0),
            Stage("hold", hold_s, measured=True),
        )
        edits = Edits(rate_per_s=rate * load, arrival=Arrival.POISSON)
        return Scenario(f"compare-{title}", title, stages, clients, per_room, settle_s=5.0, edits=edits)

    idle = Scenario(
        "compare-idle",
        "connections only",
        (Stage("ramp", max(2.0, idle_connections / 500), clients=1.0), Stage("hold", 3.0, measured=True)),
        idle_connections,
        4,
        settle_s=2.0,
    )
    known = {
        "4": Case("4", "4 in a room", typing("4 in a room", 500, 4, 4.0)),
        "10": Case("10", "10 in a room", typing("10 in a room", 500, 10, 1.5)),
        "dense": Case("dense", "50 writers in one room", typing("50 in one room", 50, 50, 6.0)),
        "idle": Case("idle", "idle connections, 4 in a room", idle, is_idle=True),
    }
    return [known[key] for key in keys]


CASE_KEYS = ("4", "10", "dense", "idle")


def run_rounds(
    servers: Sequence[str],
    tables: Sequence[Table],
    rounds: int,
    measure: Callable[[str, Case, int], Run],
) -> None:
    """All cases, all rounds, the servers taking turns; ``measure`` makes one run of one server."""
    for number, order in enumerate(turns(len(servers), rounds)):
        for table in tables:
            for at in order:
                table.add(servers[at], measure(servers[at], table.case, number))


def markdown(
    tables: Sequence[Table], servers: Sequence[str], ours: str | None, titles: dict[str, str]
) -> str:
    """The tables as Markdown: medians with the lowest and highest, and ratios to ours."""
    parts = []
    for table in tables:
        parts += [f"### {_heading(table.case)}", "", *_markdown_table(table, servers, ours, titles), ""]
        remarks = [f"- {titles[server]}: {text}" for server in servers for text in _remarks(table, server)]
        parts += [*remarks, ""] if remarks else []
    return "\n".join(parts).rstrip() + "\n"


def _remarks(table: Table, server: str) -> list[str]:
    runs = table.runs.get(server, [])
    found = []
    invalid = [run for run in runs if run.invalid]
    if invalid:
        kept = "left out" if table.has_valid(server) else "shown, for want of a valid one: do not trust it"
        found.append(f"{len(invalid)} of {len(runs)} rounds invalid ({kept}): {invalid[0].invalid[0]}")
    failed = [run for run in runs if run.failures]
    if failed:
        found.append(f"{len(failed)} of {len(runs)} rounds failed: {failed[0].failures[0]}")
    return found


def _heading(case: Case) -> str:
    scenario = case.scenario
    if scenario.edits is None:
        return f"{case.title} ({scenario.clients:,} connections)"
    fan_out = scenario.clients_per_room - 1
    deliveries = scenario.clients * scenario.edits.rate_per_s * fan_out
    rooms = "1 room" if scenario.rooms == 1 else f"{scenario.rooms:,} rooms"
    return (
        f"{case.title} ({scenario.clients:,} clients, {rooms}, {scenario.edits.rate_per_s:g} edits/s each: "
        f"{deliveries:,.0f} deliveries/s)"
    )


def _markdown_table(
    table: Table, servers: Sequence[str], ours: str | None, titles: dict[str, str]
) -> list[str]:
    figures = table.figures
    cost = (
        figures[0]
        if table.case.is_idle
        else next(f for f in figures if f.name == "server_cpu_us_per_delivery")
    )
    last = [f"ours / its {cost.title}"] if ours else []
    if ours and not table.case.is_idle:
        last.append("ours / its p99")
    rows = [["server", *(figure.title for figure in figures), *last]]
    rows.append(["---", *("---:" for _ in rows[0][1:])])
    for server in servers:
        cells = [titles[server] if table.has_valid(server) else f"{titles[server]} (invalid)"]
        cells += [cell(table.repeats(server, figure), figure.digits) for figure in figures]
        if ours:
            shown = [cost] if table.case.is_idle else [cost, figures[1]]
            for figure in shown:
                found = None if server == ours else table.ratio(ours, server, figure)
                cells.append("" if found is None else f"{found.median:.2f}")
        rows.append(cells)
    return [f"| {' | '.join(row)} |" for row in rows]


def cell(repeats: Repeats | None, digits: int) -> str:
    """A median with its range; the range is left out where it would show the same figure."""
    if repeats is None:
        return "-"

    def shown(value: float) -> str:
        return f"{value:,.{digits}f}"

    middle, low, high = shown(repeats.median), shown(repeats.low), shown(repeats.high)
    return middle if low == high else f"{middle} ({low} to {high})"


def as_data(tables: Sequence[Table]) -> dict[str, Any]:
    """The tables with every single run, for a JSON file."""
    return {
        table.case.key: {
            "title": table.case.title,
            "scenario": table.case.scenario.as_data(),
            "runs": {key: [dataclasses.asdict(run) for run in runs] for key, runs in table.runs.items()},
            "figures": [dataclasses.asdict(figure) for figure in table.figures],
        }
        for table in tables
    }
