"""From an upgrade request to the connection that speaks its dialect."""

from __future__ import annotations

from collab_server.gateway.connection import Connection
from collab_server.gateway.handshake import Request
from collab_server.gateway.hocuspocus import MultiplexedConnection
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.plain import PlainConnection
from collab_server.gateway.routing import is_multiplexed


class Gateway:
    """Makes a connection for each socket."""

    def __init__(self, lobby: Lobby) -> None:
        self.lobby = lobby

    def connection(self, request: Request) -> Connection:
        """A handler for a new socket. Raises PeerError to close it at once."""
        if is_multiplexed(request.path):
            return MultiplexedConnection(self.lobby, request)
        return PlainConnection(self.lobby, request)
