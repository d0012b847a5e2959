"""The bus's side of a listener: what it raises is its own trouble and ends nobody else's messages."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from collab_server.bus.base import BusListener, BusMessage, NodeId

log = structlog.get_logger(__name__)


class NobodyListens:
    """A listener that does nothing."""

    def on_messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        """Nothing."""

    def on_gap(self, shard: int) -> None:
        """Nothing."""

    def on_node_gone(self, node: NodeId) -> None:
        """Nothing."""


class Teller:
    """Calls a listener, which must not raise; if it does, that is logged and the shard counts as lost."""

    def __init__(self, listener: BusListener) -> None:
        self._listener = listener

    def messages(self, shard: int, sender: NodeId, messages: Sequence[BusMessage]) -> None:
        """What one node said in one turn."""
        try:
            self._listener.on_messages(shard, sender, messages)
        except Exception:
            log.exception("messages of another node could not be taken", shard=shard, sender=sender.name)
            self.gap(shard)

    def gap(self, shard: int) -> None:
        """Something may have been lost in this shard."""
        try:
            self._listener.on_gap(shard)
        except Exception:
            log.exception("a gap could not be told", shard=shard)

    def gone(self, node: NodeId) -> None:
        """A node has ended."""
        try:
            self._listener.on_node_gone(node)
        except Exception:
            log.exception("the end of a node could not be told", gone=node.name)
