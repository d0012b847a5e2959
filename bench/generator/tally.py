"""What one generator process counts, second by second."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from bench.histogram import step_of

STAGE_SHIFT: Final = 16
"""A key of ``edits`` and ``cursors`` is the stage, shifted by this, and the histogram's step."""

COUNTS: Final = (
    "sent",
    "delivered",
    "caught_up",
    "echoes",
    "duplicated",
    "reordered",
    "awareness_sent",
    "awareness_delivered",
    "superseded",
    "frames_sent",
    "frames_received",
    "bytes_sent",
    "bytes_received",
    "connections_opened",
    "connections_failed",
    "connections_dropped",
    "reconnects",
    "errors",
)

TIMES: Final = ("lag", "loop_lag", "connect", "join", "reconnect")


class Tally:
    """Counts since the last report. The inner loops add to its attributes directly."""

    __slots__ = (*COUNTS, *TIMES, "complaints", "cursors", "edits", "sent_by_stage")

    def __init__(self) -> None:
        self.complaints: dict[str, int] = {}
        """What went wrong, in words, and how often."""
        self._clear()

    def _clear(self) -> None:
        for name in COUNTS:
            setattr(self, name, 0)
        for name in TIMES:
            setattr(self, name, {})
        self.edits: dict[int, int] = {}
        self.cursors: dict[int, int] = {}
        self.sent_by_stage: dict[int, int] = {}

    def time(self, name: str, seconds: float) -> None:
        """Count a time under one of ``TIMES``."""
        counts: dict[int, int] = getattr(self, name)
        step = step_of(int(seconds * 1e6))
        counts[step] = counts.get(step, 0) + 1

    def complain(self, text: str) -> None:
        """Count a complaint; only so many different ones are kept."""
        self.errors += 1
        if text in self.complaints or len(self.complaints) < 50:
            self.complaints[text] = self.complaints.get(text, 0) + 1

    def take(self) -> dict[str, Any]:
        """What was counted, as JSON-able data, and begin anew. Complaints stay for ``complaints``."""
        data: dict[str, Any] = {name: getattr(self, name) for name in COUNTS}
        for name in TIMES:
            data[name] = flat(getattr(self, name).items())
        data["edits"] = flat(self.edits.items())
        data["cursors"] = flat(self.cursors.items())
        data["sent_by_stage"] = flat(self.sent_by_stage.items())
        self._clear()
        return data

    # Declared for the type checker; ``_clear`` sets them.
    sent: int
    delivered: int
    caught_up: int
    echoes: int
    duplicated: int
    reordered: int
    awareness_sent: int
    awareness_delivered: int
    superseded: int
    frames_sent: int
    frames_received: int
    bytes_sent: int
    bytes_received: int
    connections_opened: int
    connections_failed: int
    connections_dropped: int
    reconnects: int
    errors: int


def flat(pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Pairs one after the other: JSON's objects would turn the numbers into text."""
    return [number for pair in pairs for number in pair]


def paired(numbers: list[int]) -> Iterable[tuple[int, int]]:
    """The inverse of ``flat``."""
    each = iter(numbers)
    return zip(each, each, strict=True)
