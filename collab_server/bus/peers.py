"""The other nodes: who is alive, and who is gone once its last words were read. Pure; time is handed in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from collab_server.bus.base import NodeId
from collab_server.bus.envelope import Tails

_ENDED_MAX = 1024


@dataclass(slots=True)
class _Leaving:
    node: NodeId
    tails: Tails
    until: float


class Peers:
    """Who else is here, from hellos, goodbyes, heartbeats and what is heard."""

    def __init__(self, node: NodeId, timeout_s: float) -> None:
        self._node = node
        self._timeout_s = timeout_s
        self._here: dict[NodeId, Tails] = {}
        self._leaving: list[_Leaving] = []
        self._ended: OrderedDict[NodeId, None] = OrderedDict()
        """Lives that a later life of the same node has ended; their heartbeats may still be found."""
        self._judged_from = 0.0
        self.namesake: NodeId | None = None
        """Another node that is alive and has this node's name: a mistake of who runs them."""

    def linked(self, now: float) -> None:
        """The link works (again): for a while nobody is taken for dead: others are just coming back."""
        self._judged_from = now + self._timeout_s

    def nodes(self) -> list[NodeId]:
        """Who is here."""
        return sorted(self._here)

    def tails(self) -> Mapping[NodeId, Tails]:
        """What each node has written, as far as it has said."""
        return self._here

    def heard(self, node: NodeId) -> None:
        """A node said something."""
        if node not in self._here and node not in self._ended and node.name != self._node.name:
            self._here[node] = {}

    def hello(self, node: NodeId, now: float) -> None:
        """A node says that it is here; another life of it ends."""
        if node.name == self._node.name:
            self.namesake = node if node != self._node else self.namesake
            return
        self._ended.pop(node, None)
        self._leaving = [leaving for leaving in self._leaving if leaving.node != node]
        for other in [other for other in self._here if other.name == node.name and other != node]:
            self._end(other)
            self._leave(other, self._here[other], now)
        self._here.setdefault(node, {})

    def bye(self, node: NodeId, tails: Tails, now: float) -> None:
        """A node says that it leaves, and what its last words were."""
        self._end(node)
        self._leave(node, tails, now)

    def beat(self, found: Mapping[NodeId, Tails | None], now: float) -> None:
        """The heartbeats that were found; None for a node that has none any more."""
        for node, tails in found.items():
            if tails is None:
                self._ended.pop(node, None)
            elif node.name != self._node.name and node not in self._ended:
                self._here[node] = tails
        if now < self._judged_from:
            return
        # An earlier life of this node has had the time to be forgotten: whoever has its name now is alive.
        self.namesake = next(
            (
                n
                for n, tails in found.items()
                if tails is not None and n.name == self._node.name and n != self._node
            ),
            None,
        )
        for node in [node for node in self._here if found.get(node) is None]:
            self._leave(node, self._here[node], now)

    def gone(self, has_passed: Callable[[Tails], bool], now: float) -> Iterable[NodeId]:
        """Who is gone, now that its last words were read, or were waited for long enough. Each once."""
        if not self._leaving:
            return ()
        over = [one for one in self._leaving if one.until <= now or has_passed(one.tails)]
        self._leaving = [one for one in self._leaving if one not in over]
        return [one.node for one in over]

    def _leave(self, node: NodeId, tails: Tails, now: float) -> None:
        if self._here.pop(node, None) is not None:
            self._leaving.append(_Leaving(node, tails, now + self._timeout_s))

    def _end(self, node: NodeId) -> None:
        self._ended[node] = None
        if len(self._ended) > _ENDED_MAX:
            self._ended.popitem(last=False)
