"""What the transport tells whoever counts. The default listens to nothing."""

from __future__ import annotations

from typing import Protocol


class TransportObserver(Protocol):
    """Called in the event loop: it must be quick and must not raise.

    Messages are counted by those who know their kinds.
    """

    def opened(self) -> None:
        """A socket was opened."""

    def closed(self, code: int, *, clean: bool, by_server: bool) -> None:
        """A socket came to its end; exactly once for each ``opened``. 1006: without a close frame.

        ``clean``: a close frame came from the peer. ``by_server``: the end began here.
        """

    def refused(self, status: int) -> None:
        """A request was answered with an HTTP error, or let in to be told a close code (1012, 1013)."""


class NullObserver:
    """Counts nothing."""

    def opened(self) -> None:
        """Nothing."""

    def closed(self, code: int, *, clean: bool, by_server: bool) -> None:
        """Nothing."""

    def refused(self, status: int) -> None:
        """Nothing."""
