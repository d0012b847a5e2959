"""An event loop whose clock jumps: nothing waits for real, and the program alone decides what happens."""

from __future__ import annotations

import asyncio
from typing import Any

START_S = 1_000.0


class StuckError(AssertionError):
    """Everybody waits for somebody else."""


class VirtualLoop(asyncio.BaseEventLoop):
    """No sockets, no signals, no threads: tasks, futures and timers on a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._now = START_S
        self._selector = self  # what the base class asks for events, and for how long it may wait
        self._clock_resolution = 1e-7
        self.troubles: list[str] = []
        """What the loop was told of by its exception handler: none of it may happen."""
        self.set_exception_handler(self._note)

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise StuckError("nobody can go on")
        if timeout > 0:
            self._now += timeout
        return []

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.troubles.append(f"{context.get('message')}: {context.get('exception')!r}")
