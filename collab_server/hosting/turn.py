"""The end of the event loop's turn: where all rooms that are due at once are served, by one callback.

What a socket brings is read in one turn; what rooms make of it leaves at its end. A callback of its own for
each room would cost more than some of them have to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class TurnEnd:
    """What is still to be done in this turn of the loop."""

    __slots__ = ("_loop", "_works")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._works: list[Callable[[], None]] = []

    def call(self, work: Callable[[], None]) -> None:
        """Do this when the turn ends, in the order of the calls. It must not raise.

        What is asked for meanwhile is done at the end of the next turn.
        """
        if not self._works:
            self._loop.call_soon(self._end)
        self._works.append(work)

    def _end(self) -> None:
        works, self._works = self._works, []
        for work in works:
            work()
