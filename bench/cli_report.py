"""``collab-bench report``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from bench.errors import BenchError
from bench.report import report
from bench.result import load_result


@click.command(name="report", short_help="Make an HTML page of results.")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True
)
@click.option("--title", default="", help="Heading of the page. Default: the run's label or scenario.")
def report_command(results: tuple[Path, ...], output: Path, title: str) -> None:
    """Make one self-contained HTML page from one result, or from several side by side.

    The first result is the one that the others are compared with.
    """
    runs = [dataclasses.asdict(load_result(path)) for path in results]
    write_page(output, report(runs, title))
    click.echo(f"wrote {output}")


def write_page(path: Path, text: str) -> None:
    """Write a report. Raises BenchError when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None
