"""What a host needs of a connected client, whatever its dialect."""

from __future__ import annotations

from typing import Protocol

from collab_server.errors import PeerError
from collab_server.room.member import Member
from collab_server.wire.frame import Frame


class Peer(Protocol):
    """One client in one room. The gateway implements it; the host never sees a socket."""

    member: Member

    @property
    def is_full(self) -> bool:
        """Whether the socket's buffer is over its high-water mark; the host is told of each change."""
        ...

    def send(self, frame: Frame) -> None:
        """Queue a frame; never waits. After the connection has closed it does nothing."""
        ...

    def close(self, error: PeerError) -> None:
        """End this client's stay in the room with the error's close code. May be called more than once."""
        ...
