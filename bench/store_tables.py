"""What ``bench.store`` has measured, as tables in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.offered import Outcome
from bench.opening import Opening
from bench.past import PastSize


@dataclass(frozen=True, slots=True)
class Measured:
    """All figures."""

    machine: str
    commits: dict[str, list[Outcome]]
    openings: dict[str, list[Opening]]
    pasts: list[PastSize]


def machine() -> str:
    """What this ran on, and how busy that was with other things."""
    kind = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{kind}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start"


def tables(measured: Measured) -> str:
    """All tables."""
    return "\n\n".join(
        (
            measured.machine,
            commit_table(measured.commits),
            opening_table(measured.openings),
            past_table(measured.pasts),
        )
    )


def commit_table(commits: dict[str, list[Outcome]]) -> str:
    """A line for each store and number of rooms, a column for each rate."""
    rates = sorted({outcome.offered_per_s for found in commits.values() for outcome in found})
    head = [
        "store",
        "rooms",
        *(f"{rate:,}/s: p50 / p99 ms" for rate in rates),
        f"of {rates[-1]:,}/s: committed/s",
        "waiting, 1st / 2nd half",
        "cores",
    ]
    rows = []
    for store, found in commits.items():
        for rooms in sorted({outcome.rooms for outcome in found}):
            at = {outcome.offered_per_s: outcome for outcome in found if outcome.rooms == rooms}
            most = at[rates[-1]]
            rows.append(
                [
                    store,
                    f"{rooms:,}",
                    *(f"{at[rate].p50_ms:.1f} / {at[rate].p99_ms:.1f}" for rate in rates),
                    f"{most.committed_per_s:,.0f}",
                    f"{most.waiting_early:,} / {most.waiting_late:,}",
                    f"{most.cpu:.2f}",
                ]
            )
    return table(head, rows)


def opening_table(openings: dict[str, list[Opening]]) -> str:
    """A line for each document, a column for each store."""
    by_document: dict[str, list[Opening]] = {}
    for found in openings.values():
        for opening in found:
            by_document.setdefault(opening.name, []).append(opening)
    return table(
        ["cold room", "stored", *(f"{store}: ms (of it the read)" for store in openings)],
        [
            [name, _size(found[0].stored_bytes), *(f"{one.open_ms:.1f} ({one.load_ms:.1f})" for one in found)]
            for name, found in by_document.items()
        ],
    )


def past_table(pasts: Sequence[PastSize]) -> str:
    """A line for each session."""
    return table(
        [
            "session",
            "updates",
            "their bytes",
            "document",
            "segments",
            "their bytes",
            "checkpoints",
            "their bytes",
        ],
        [
            [
                past.session,
                f"{past.updates:,}",
                _size(past.updates_bytes),
                _size(past.document_bytes),
                f"{past.segments:,}",
                _size(past.segments_bytes),
                f"{past.checkpoints:,}",
                _size(past.checkpoints_bytes),
            ]
            for past in pasts
        ],
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _size(size_bytes: int) -> str:
    if size_bytes >= 1_000_000:
        return f"{size_bytes / 1_000_000:.1f} MB"
    return f"{size_bytes / 1000:.0f} KB" if size_bytes >= 10_000 else f"{size_bytes / 1000:.1f} KB"
