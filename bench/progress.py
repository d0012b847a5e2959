"""How a run stands, while it runs: a line a second, or a panel that is redrawn where there is a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.run import Progress

_MIB = 1 << 20


def figure(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A number for a person; a dash for nothing."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


class ProgressView:
    """Use as a context manager; ``show`` is what ``run_scenario`` calls."""

    def __init__(self, stream: TextIO, title: str) -> None:
        self._console = Console(file=stream)
        self._title = title
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show the newest state."""
        if self._live is not None:
            self._live.update(self._panel(progress), refresh=True)
        elif progress.phase == "preparing":
            self._console.print(f"{self._title}: preparing", highlight=False, soft_wrap=True)
        else:
            self._console.print(line_of(progress), highlight=False, soft_wrap=True)

    def _panel(self, progress: Progress) -> RenderableType:
        table = Table.grid(padding=(0, 3))
        for name, value in rows_of(progress):
            table.add_row(Text(name, style="dim"), value)
        bar = ProgressBar(
            total=progress.total_s, completed=min(progress.elapsed_s, progress.total_s), width=60
        )
        stage = progress.stage if progress.phase == "running" else progress.phase
        head = Text.assemble(
            (self._title, "bold"), f"  {stage}  {progress.elapsed_s:.0f} of {progress.total_s:.0f} s"
        )
        return Group(head, bar, table)


def rows_of(progress: Progress) -> list[tuple[str, str]]:
    """What the panel says."""
    server = figure(progress.server_cpu_percent, " % of a core", 0)
    if progress.server_rss_bytes is not None:
        server += f", {figure(progress.server_rss_bytes / _MIB, ' MiB', 0)}"
    return [
        ("connected", figure(progress.connected, digits=0)),
        ("sent", f"{figure(progress.sent_per_s, '/s', 0)}  ({figure(progress.sent, digits=0)})"),
        (
            "delivered",
            f"{figure(progress.delivered_per_s, '/s', 0)}  ({figure(progress.delivered, digits=0)})",
        ),
        ("latency", f"p50 {figure(progress.p50_ms, ' ms')}   p99 {figure(progress.p99_ms, ' ms')}"),
        ("server", server),
        (
            "generator",
            f"{figure(progress.generator_cpu_percent, ' % of a core', 0)}, "
            f"late by {figure(progress.generator_lag_ms, ' ms')}",
        ),
        ("trouble", f"{progress.duplicated} duplicated, {progress.errors} errors"),
    ]


def line_of(progress: Progress) -> str:
    """One line for a log."""
    stage = progress.stage if progress.phase == "running" else progress.phase
    return (
        f"{progress.elapsed_s:5.0f} s  {stage:<12} {progress.connected:>6} connected  "
        f"{progress.sent_per_s:>7.0f} sent/s  {progress.delivered_per_s:>8.0f} delivered/s  "
        f"p50 {figure(progress.p50_ms):>7}  p99 {figure(progress.p99_ms):>7} ms  "
        f"server {figure(progress.server_cpu_percent, ' %', 0):>6}  "
        f"generator {figure(progress.generator_cpu_percent, ' %', 0):>6}"
    )
