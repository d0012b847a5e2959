"""What the transport tells whoever counts. The default listens to nothing."""

from __future__ import annotations

from typing import Protocol


class TransportObserver(Protocol):
    """Called in the event loop, often: it must be quick and must not raise."""

    def opened(self) -> None:
        """A socket was opened."""

    def closed(self, code: int, *, clean: bool, by_server: bool) -> None:
        """A socket came to its end; exactly once for each ``opened``. 1006: without a close frame.

        ``clean``: a close frame came from the peer. ``by_server``: the end began here.
        """

    def refused(self, status: int) -> None:
        """A request was answered with an HTTP error, or let in to be told a close code (1012, 1013)."""

    def received(self, size_bytes: int) -> None:
        """A whole data message came in; its size after joining and inflating."""

    def sent(self, size_bytes: int) -> None:
        """A data message was handed on to be sent; its size on the wire without the header."""


class NullObserver:
    """Counts nothing."""

    def opened(self) -> None:
        """Nothing."""

    def closed(self, code: int, *, clean: bool, by_server: bool) -> None:
        """Nothing."""

    def refused(self, status: int) -> None:
        """Nothing."""

    def received(self, size_bytes: int) -> None:
        """Nothing."""

    def sent(self, size_bytes: int) -> None:
        """Nothing."""
