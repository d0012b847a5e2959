"""What benchmarks that are commands of their own share: options, progress, and figures in a file."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Measured = TypeVar("Measured", bound=DataclassInstance)

Tell = Callable[[str], None]
"""Says how far it is."""


def options(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser of ``--seconds``, ``--repeats`` and ``--json``, to which a command adds its own."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--seconds", type=float, default=1.5, help="time of one run (default 1.5)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of which the median is taken (default 3)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser


def run(
    arguments: argparse.Namespace,
    bench: Callable[[argparse.Namespace, Tell], Coroutine[Any, Any, Measured]],
    tables: Callable[[Measured], str],
    expected: tuple[type[Exception], ...],
) -> int:
    """Measure, and print the tables; the exit code. Errors of the types ``expected`` are told in a line."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured = runner.run(bench(arguments, _tell))
    except expected as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{tables(measured)}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(measured), indent=2) + "\n")
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"\r\x1b[K{line}" if sys.stderr.isatty() else f"{line}\n")
