"""What is measured: where it listens, what it speaks, and where its process can be watched."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from bench.errors import BenchError


class Dialect(StrEnum):
    """How rooms and messages are put on a WebSocket."""

    PLAIN = "plain"
    """y-websocket: a room is a path. A server with a document of its own, which answers sync step 1."""
    RELAY = "relay"
    """y-websocket's frames through a server that only passes them on: no sync, no memory of the room."""
    HOCUSPOCUS = "hocuspocus"
    """The multiplexed framing: every frame names its document."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server, or several processes of one."""

    urls: tuple[str, ...]
    """``ws://host:port[/path]``; a room's name is appended. The clients of a room go round the addresses."""
    dialect: Dialect = Dialect.PLAIN
    pids: tuple[int, ...] = ()
    """Server processes to watch, with their children; empty: who listens on the port, if it is here."""
    ops_url: str | None = None
    """``http://host:port`` with ``/metrics``, scraped once a second."""
    label: str = ""
    query: str = ""
    """Appended to each address after a ``?``: a token, for example."""

    def __post_init__(self) -> None:
        if not self.urls:
            raise BenchError("a target needs an address: --url ws://host:port")
        for url in self.urls:
            address_of(url)


def address_of(url: str) -> tuple[str, int, str]:
    """Host, port and path (without a slash at its end) of a ``ws://`` address.

    Raises:
        BenchError: It is not one.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        raise BenchError(f"not a port in {url!r}") from None
    if parts.scheme != "ws" or not parts.hostname:
        raise BenchError(f"not an address: {url!r}; it looks like ws://127.0.0.1:4000")
    return parts.hostname, port or 80, parts.path.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or in 127.0.0.0/8."""
    return host == "localhost" or host.startswith("127.")
