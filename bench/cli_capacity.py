"""``collab-bench capacity``."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click

from bench.capacity import RATE_UNIT, Limits, Vary, judged, offered_per_s, scenario_at
from bench.cli_compare import described
from bench.cli_report import write_page
from bench.errors import BenchError
from bench.peers.catalog import chosen, start
from bench.repeats import Repeats
from bench.result import RunResult
from bench.run import RunOptions, machine, run_scenario
from bench.scenario import Overrides, load_scenario
from bench.search import Found, Rules, Verdict, search
from bench.target import Dialect, Target


@click.command(name="capacity", short_help="Find the highest load that a node holds.")
@click.argument("scenario_name", metavar="SCENARIO", default="typing")
@click.option("--url", default="", help="Server to measure. Default: start one of --server on this machine.")
@click.option("--dialect", type=click.Choice([d.value for d in Dialect]), default=Dialect.PLAIN.value)
@click.option(
    "--server", default="collab-server", show_default=True, help="As in compare; fresh for each run."
)
@click.option(
    "--vary", type=click.Choice([v.value for v in Vary]), default=Vary.CLIENTS.value, show_default=True
)
@click.option("--p99-ms", default=50.0, show_default=True, help="What the 99th percentile may be.")
@click.option("--start", "start_at", type=float, help="First load. Default: what the scenario says.")
@click.option("--most", type=float, default=20_000, show_default=True, help="Highest load to be tried.")
@click.option("--clients-per-room", type=click.IntRange(2))
@click.option("--rate", type=float, help="Edits a second of one writer.")
@click.option("--duration", "duration_s", type=float, help="Seconds of a run. Default: the scenario's.")
@click.option("--precision", default=0.05, show_default=True, type=click.FloatRange(0.001, 1))
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--trials-max", default=40, show_default=True, type=click.IntRange(1))
@click.option("--processes", default=1, show_default=True, help="Generator processes.")
@click.option("--agents", default="", help="host:port,... of collab-bench agent; needs --url.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="All trials as JSON.")
def capacity_command(
    scenario_name: str,
    url: str,
    dialect: str,
    server: str,
    vary: str,
    p99_ms: float,
    start_at: float | None,
    most: float,
    clients_per_room: int | None,
    rate: float | None,
    duration_s: float | None,
    precision: float,
    repeats: int,
    trials_max: int,
    processes: int,
    agents: str,
    json_file: Path | None,
) -> None:
    """Find the highest load at which the 99th percentile of the latency holds, and how sure that is.

    The load doubles until it fails, the gap is halved until it is narrow, and the answer is repeated: it
    counts when most repeats hold. The load is the number of clients, or the edits a second of one writer
    (--vary rate).
    """
    base = load_scenario(scenario_name).with_overrides(
        Overrides(clients_per_room=clients_per_room, rate_per_s=rate, duration_s=duration_s)
    )
    varied = Vary(vary)
    if varied is Vary.CLIENTS:
        begin, unit, step, scale = start_at or base.clients, "clients", base.clients_per_room, 1
    else:
        begin = start_at or (base.edits.rate_per_s if base.edits else 1.0)
        unit, step, scale = "edits/s of each writer", 1, RATE_UNIT
    rules = Rules(int(begin * scale), step, int(most * scale), precision, repeats, trials_max)
    addresses = tuple(part.strip() for part in agents.split(",") if part.strip())
    if addresses and not url:
        raise BenchError("--agents: other machines cannot reach a server that is started here; give --url")
    secret = os.environ.get("COLLAB_BENCH_SECRET", "")
    options = RunOptions(processes=processes, agents=addresses, secret=secret)
    trials: list[dict[str, Any]] = []
    limits = Limits(p99_ms=p99_ms)
    measure = _Fresh(server) if not url else _Given(Target((url,), Dialect(dialect)))

    def trial(load: int) -> Verdict:
        scenario = scenario_at(base, varied, load)
        click.echo(f"{len(trials) + 1:3}  {load / scale:,g} {unit} ... ", nl=False, err=True)
        result = measure.run(scenario, options)
        verdict, why = judged(result, scenario, limits)
        click.echo(f"{verdict.value}: {why}", err=True)
        offered = offered_per_s(scenario)
        trials.append({"load": load / scale, "verdict": verdict.value, "why": why, "offered": offered})
        trials[-1].update(result.summary())
        return verdict

    found = search(trial, rules)
    text = told(found, trials, scale, unit, p99_ms, measure.title)
    click.echo(f"\n{text}\n{described(1).partition('. ')[0]}.")
    if json_file:
        data: dict[str, Any] = {"format": "collab-bench-capacity/1", "harness": machine()}
        data["scenario"] = base.as_data()
        data |= {"found": dataclasses.asdict(found), "scale": scale, "trials": trials, "text": text}
        write_page(json_file, json.dumps(data, indent=1))


def told(found: Found, trials: list[dict[str, Any]], scale: int, unit: str, p99_ms: float, title: str) -> str:
    """The answer as lines of text, with the medians of the runs that held it."""
    where = found if scale == 1 else _scaled(found, scale)
    lines = [f"{title}, p99 <= {p99_ms:g} ms: {where.sentence(unit)}"]
    held = [trial for trial in trials if trial["verdict"] == Verdict.HOLDS.value]
    at = [trial for trial in held if found.load is not None and trial["load"] == found.load / scale]
    shown = (
        ("deliveries_per_s", "deliveries/s", 0),
        ("p50_ms", "p50 ms", 1),
        ("p99_ms", "p99 ms", 1),
        ("server_cpu_percent", "server CPU %", 0),
        ("server_cpu_us_per_delivery", "CPU us per delivery", 1),
        ("server_rss_mb", "memory MiB", 0),
        ("generator_cpu_percent", "generator CPU %", 0),
    )
    for name, text, digits in shown:
        values = Repeats.of([trial.get(name) for trial in at])
        if values is not None:
            spread = f"   ({values.low:,.{digits}f} to {values.high:,.{digits}f})" if len(at) > 1 else ""
            lines.append(f"  {text:20} {values.median:>10,.{digits}f}{spread}")
    return "\n".join(lines)


def _scaled(found: Found, scale: int) -> Found:
    """For the sentence: loads in the unit of people."""

    def back(load: int | None) -> Any:
        return None if load is None else load / scale

    return dataclasses.replace(found, load=back(found.load), fails_at=back(found.fails_at))


class _Given:
    """A server that somebody else runs."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.title = target.urls[0]

    def run(self, scenario: Any, options: RunOptions) -> RunResult:
        return run_scenario(scenario, self._target, options)


class _Fresh:
    """A server that is started for each run, so that no run suffers from the one before."""

    def __init__(self, key: str) -> None:
        self._peer = chosen((key,))[0]
        self._installed = self._peer.install(300)
        self.title = f"{self._peer.title} {self._installed.version}"

    def run(self, scenario: Any, options: RunOptions) -> RunResult:
        running = start(self._peer, self._installed)
        try:
            return run_scenario(scenario, running.target, options)
        finally:
            running.stop()
