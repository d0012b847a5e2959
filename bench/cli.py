"""The command line of the harness, ``collab-bench``.

What goes wrong is one line on stderr that begins with ``collab-bench:``. The exit code is 0 for passed, 1 for
failed (something was lost, duplicated, unequal or cut off, or a ``--fail-if`` holds), 2 for a command that
makes no sense, 3 for a run that measured the generator and not the server, 130 for Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.agent import Agent
from bench.cli_capacity import capacity_command
from bench.cli_compare import compare_command
from bench.cli_million import million_command
from bench.cli_report import report_command
from bench.errors import BenchError
from bench.progress import ProgressView
from bench.result import save_result
from bench.run import RunOptions, run_scenario
from bench.scenario import Overrides, load_scenario, scenario_names
from bench.summary import text_of
from bench.target import Dialect, Target
from bench.thresholds import parse_threshold

NAME = "collab-bench"
PASSED, FAILED, USAGE, INVALID, INTERRUPTED = 0, 1, 2, 3, 130
SECRET_VARIABLE = "COLLAB_BENCH_SECRET"  # noqa: S105 - the name of a variable


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    try:
        result = commands.main(args=arguments, prog_name=NAME, standalone_mode=False)
        return result if isinstance(result, int) else PASSED
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _complain(error.format_message())
    except BenchError as error:
        return _complain(str(error))
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PASSED
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _complain(message: str) -> int:
    click.echo(f"{NAME}: {' '.join(message.split())}", err=True)
    return USAGE


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def commands() -> None:
    """Put load on a Yjs server, over its wire only, and say how it bore it."""


@commands.command("scenarios")
def list_scenarios() -> None:
    """List the scenarios that come with the harness."""
    scenarios = [load_scenario(name) for name in scenario_names()]
    width = max(len(scenario.name) for scenario in scenarios)
    for scenario in scenarios:
        size = f"{scenario.clients} clients, {scenario.rooms} rooms, {scenario.duration_s:g} s"
        click.echo(f"{scenario.name:<{width}}  {scenario.summary} ({size})")


@commands.command("run")
@click.argument("scenario_name", metavar="SCENARIO")
@click.option(
    "--url",
    "urls",
    multiple=True,
    required=True,
    metavar="WS_URL",
    help="The server, ws://host:port; several for nodes of one cluster.",
)
@click.option(
    "--dialect",
    type=click.Choice([each.value for each in Dialect]),
    default="plain",
    show_default=True,
    help="What the server speaks; relay: it only passes frames on.",
)
@click.option("--query", default="", help="Appended to each address after ?, for a token.")
@click.option(
    "--pid",
    "pids",
    type=int,
    multiple=True,
    help="Server process to watch; default: who listens on the port.",
)
@click.option("--ops-url", metavar="URL", help="Where the server's /metrics is, http://host:port.")
@click.option("--label", default="", help="A name for the server in results.")
@click.option("--clients", type=int, help="Clients, instead of the scenario's.")
@click.option("--rooms", type=int, help="Rooms that they share.")
@click.option("--clients-per-room", type=int, help="Or how many share one.")
@click.option("--rate", "rate_per_s", type=float, help="Messages of one writer a second.")
@click.option("--duration", "duration_s", type=float, help="Seconds of all stages together.")
@click.option("--settle", "settle_s", type=float, help="Seconds that the last messages may take.")
@click.option("--document-bytes", type=int, help="Size of what the rooms hold before.")
@click.option("--rest", "rest_s", type=float, help="Seconds between filling the rooms and the run.")
@click.option("--replay", metavar="FILE", help="A recorded session (.yupd.gz) that the writers play.")
@click.option("--seed", type=int, help="Another schedule of the same kind.")
@click.option(
    "--fail-if",
    "fail_if",
    multiple=True,
    metavar="EXPRESSION",
    help="For example 'p99_ms > 50'; may be repeated.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the whole result here.",
)
@click.option(
    "--processes", type=int, default=1, show_default=True, help="Generator processes, here or on each agent."
)
@click.option(
    "--agents", default="", metavar="HOST:PORT,...", help="Generate on these machines (collab-bench agent)."
)
@click.option(
    "--check-replicas",
    type=int,
    default=500,
    show_default=True,
    help="Replicas whose content is compared at the end.",
)
@click.option(
    "--lag-max-ms",
    type=float,
    default=10.0,
    show_default=True,
    help="The generator's own lag (p99) above which a run is invalid.",
)
@click.option("--quiet", is_flag=True, help="No progress.")
def run_command(
    scenario_name: str,
    urls: tuple[str, ...],
    dialect: str,
    query: str,
    pids: tuple[int, ...],
    ops_url: str | None,
    label: str,
    fail_if: tuple[str, ...],
    json_path: Path | None,
    processes: int,
    agents: str,
    check_replicas: int,
    lag_max_ms: float,
    quiet: bool,
    **changes: Any,
) -> int:
    """Run a SCENARIO (a name, or a file that ends in .toml) against a server."""
    thresholds = [parse_threshold(text) for text in fail_if]
    scenario = load_scenario(scenario_name).with_overrides(Overrides(**changes))
    if json_path is not None and not json_path.absolute().parent.is_dir():
        raise BenchError(f"--json: there is no folder {json_path.absolute().parent}")
    target = Target(urls, Dialect(dialect), pids, ops_url, label, query)
    options = RunOptions(
        processes=processes,
        agents=tuple(part.strip() for part in agents.split(",") if part.strip()),
        secret=os.environ.get(SECRET_VARIABLE, ""),
        check_replicas_max=check_replicas,
        lag_p99_max_ms=lag_max_ms,
    )
    with ProgressView(sys.stderr, scenario.name) as view:
        result = run_scenario(scenario, target, options, None if quiet else view.show)
    violated = [each for each in thresholds if each.violated_by(result.summary())]
    click.echo(text_of(result, violated))
    if json_path is not None:
        save_result(result, json_path)
    if result.failures:
        return FAILED
    if not result.is_valid:
        return INVALID
    return FAILED if violated else PASSED


@commands.command("agent")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=int, default=7400, show_default=True, help="Port; 0 takes any free one.")
@click.option("--processes-max", type=int, default=64, show_default=True, help="Generator processes at once.")
def agent_command(host: str, port: int, processes_max: int) -> None:
    """Generate load for a run that is led from another machine."""
    asyncio.run(_serve_agent(host, port, processes_max))


async def _serve_agent(host: str, port: int, processes_max: int) -> None:
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret and not host.startswith("127.") and host not in {"localhost", "::1"}:
        raise BenchError(
            f"set {SECRET_VARIABLE}, here and for the run: an agent loads whatever it is told to"
        )
    agent = Agent(secret, processes_max, click.echo)
    await agent.start(host, port)
    click.echo(f"generates for runs with --agents {host}:{agent.port}; Ctrl-C stops it")
    await agent.serve()


commands.add_command(report_command)
commands.add_command(compare_command)
commands.add_command(capacity_command)
commands.add_command(million_command)
# Further commands are registered here: commands.add_command(...).

if __name__ == "__main__":
    sys.exit(main())
