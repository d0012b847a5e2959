"""``collab-bench compare``."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import click

from bench.cli_report import write_page
from bench.compare import CASE_KEYS, Case, Run, Table, as_data, cases, markdown, run_rounds
from bench.errors import BenchError, meant
from bench.peers.cache import INSTALL_TIMEOUT_S, UnavailableError
from bench.peers.catalog import PEERS, Installed, Peer, chosen, start
from bench.report import report
from bench.result import RunResult, save_result
from bench.run import RunOptions, machine, run_scenario


@click.command(name="compare", short_help="Measure our server beside others.")
@click.option(
    "--servers",
    default="",
    help=f"Comma-separated: {', '.join(p.key for p in PEERS)}. Default: all but collab-server-memory.",
)
@click.option("--cases", "case_keys", default=",".join(CASE_KEYS), show_default=True)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--hold", "hold_s", default=8.0, show_default=True, help="Measured seconds of a run.")
@click.option("--load", default=1.0, show_default=True, help="Multiple of the rates of the cases.")
@click.option("--idle-connections", default=1000, show_default=True, type=click.IntRange(4))
@click.option("--processes", default=1, show_default=True, help="Generator processes.")
@click.option("--tries", default=2, show_default=True, type=click.IntRange(1), help="Runs for a valid one.")
@click.option("--install-timeout", "install_timeout_s", default=float(INSTALL_TIMEOUT_S), show_default=True)
@click.option("--results", type=click.Path(path_type=Path), help="Folder for the result of each run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="All figures as JSON.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), help="The tables as Markdown.")
@click.option(
    "--report", "report_file", type=click.Path(path_type=Path), help="HTML: last round, side by side."
)
def compare_command(
    servers: str,
    case_keys: str,
    rounds: int,
    hold_s: float,
    load: float,
    idle_connections: int,
    processes: int,
    tries: int,
    install_timeout_s: float,
    results: Path | None,
    json_file: Path | None,
    markdown_file: Path | None,
    report_file: Path | None,
) -> None:
    """Measure our server beside y-websocket's, Hocuspocus, pycrdt-websocket and a bare relay.

    They are installed from npm and PyPI into a cache folder (COLLAB_BENCH_CACHE), started one at a time on
    loopback ports, and get the same loads in turns. A server that cannot be installed is named and left out.
    """
    keys = [key.strip() for key in case_keys.split(",") if key.strip()]
    for key in keys:
        if key not in CASE_KEYS:
            raise BenchError(f"--cases: no case {key!r}; {meant(key, CASE_KEYS)}")
    wanted = chosen(tuple(key.strip() for key in servers.split(",") if key.strip()))
    ready = _installed(wanted, install_timeout_s)
    if not ready:
        raise BenchError("none of the servers is available")
    titles = {peer.key: f"{peer.title} {made.version}" for peer, made in ready.values()}
    ours = next((peer.key for peer, _ in ready.values() if peer.is_ours), None)
    tables = [Table(case) for case in cases(keys, hold_s, idle_connections, load)]
    runner = _Runner(
        ready, RunOptions(processes=processes), results, len(ready) * len(tables) * rounds, tries
    )
    run_rounds(list(ready), tables, rounds, runner.measure)
    text = markdown(tables, list(ready), ours, titles)
    click.echo(f"\n{described(rounds)}\n\n{text}")
    if json_file:
        data = {"format": "collab-bench-compare/1", "harness": machine(), "versions": titles}
        write_page(json_file, json.dumps({**data, "cases": as_data(tables)}, indent=1))
    if markdown_file:
        write_page(markdown_file, text)
    if report_file and runner.last:
        write_page(
            report_file,
            report([dataclasses.asdict(r) for r in runner.last.values()], "The servers side by side"),
        )


def described(rounds: int) -> str:
    """The machine, and what the figures are, in two sentences."""
    about = machine()["machine"]
    memory = about["memory_bytes"] / 1024**3
    spread = f"Medians of {rounds} rounds (lowest to highest)" if rounds > 1 else "One round"
    return (
        f"{about['cpus']} cores of {about['cpu_model'] or 'an unnamed processor'}, {memory:.0f} GiB, "
        f"generator and server on the same machine, "
        f"load average {os.getloadavg()[0]:.1f}. {spread}; the servers took turns."
    )


def _installed(peers: list[Peer], timeout_s: float) -> dict[str, tuple[Peer, Installed]]:
    ready = {}
    deadline = time.monotonic() + timeout_s
    for peer in peers:
        try:
            ready[peer.key] = (peer, peer.install(max(1.0, deadline - time.monotonic())))
        except UnavailableError as reason:
            click.echo(f"left out: {peer.title}: {reason}", err=True)
    return ready


class _Runner:
    """Starts a server afresh for each run, and says how it went."""

    def __init__(
        self,
        ready: dict[str, tuple[Peer, Installed]],
        options: RunOptions,
        folder: Path | None,
        total: int,
        tries: int,
    ) -> None:
        self._tries = tries
        self._ready = ready
        self._options = options
        self._folder = folder
        self._total = total
        self._done = 0
        self.last: dict[str, RunResult] = {}
        """The last run of each server and case, by name."""
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BenchError(f"{folder}: {error.strerror}") from None

    def measure(self, key: str, case: Case, number: int) -> Run:
        """One run; an invalid one is repeated, in the hope that the machine is calmer then."""
        self._done += 1
        for _ in range(self._tries):
            run = self._once(key, case, number)
            if not run.invalid:
                break
        return run

    def _once(self, key: str, case: Case, number: int) -> Run:
        peer, installed = self._ready[key]
        click.echo(f"{self._done}/{self._total}  {case.title}: {peer.title} ... ", nl=False, err=True)
        try:
            running = start(peer, installed)
            try:
                # Only ours has metrics: to be asked for them each second would be a cost of its own.
                target = dataclasses.replace(running.target, ops_url=None)
                result = run_scenario(case.scenario, target, self._options)
            finally:
                running.stop()
        except BenchError as error:
            click.echo(str(error), err=True)
            return Run(None, failures=(f"it did not come about: {error}",))
        self.last[f"{key} {case.key}"] = result
        if self._folder is not None:
            save_result(result, self._folder / f"{case.key}-{key}-{number + 1}.json")
        run = run_of(result, case)
        click.echo(_in_short(run, case), err=True)
        return run


def run_of(result: RunResult, case: Case) -> Run:
    """What a result says to the table. A generator that was late has no bearing on idle memory."""
    invalid = () if case.is_idle else tuple(result.validity["reasons"])
    return Run(dict(result.summary()), invalid, tuple(result.failures))


def _in_short(run: Run, case: Case) -> str:
    summary = run.summary or {}
    verdict = "  FAILED" if run.failures else "  INVALID" if run.invalid else ""
    if case.is_idle:
        per_connection = summary["server_bytes_per_connection"]
        return f"{(per_connection or 0) / 1024:.1f} KiB per connection{verdict}"
    cost, p99 = summary["server_cpu_us_per_delivery"], summary["p99_ms"]
    return f"p99 {p99 or 0:.1f} ms, {cost or 0:.1f} us per delivery{verdict}"
