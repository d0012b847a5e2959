"""Edits of other nodes that are here, and that nobody has said to be stored.

The node of an edit's author stores it and says so a moment later. Until then it is *unproven* here: if that
node dies, the store lacks it, while members here have it and build upon it. So it is kept, and *adopted*
(put into this node's own journal) when that matters:

- a member's edit needs it: what is stored must never lack what it stands upon;
- a member joins, or sends what is known already: its acknowledgement says that all it has is stored;
- the node that it came from has gone, or has not said for too long that it is stored;
- the room is closed here.

An edit that is stored twice means the same as once, so adopting is always safe. By induction everything in
the store has what it needs there: whoever stores an edit has stored, or stores with it, or knows to be stored
whatever that edit needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from collab_server.ydoc.inspection import Inspected


@dataclass(frozen=True, slots=True)
class _Edit:
    sequence: int
    data: bytes
    starts: dict[int, int]
    """For each client whose structs it brings: the first clock."""
    came_at: float


class Unproven:
    """The unproven edits of one room, by the node that they came from. False if there are none."""

    __slots__ = ("_by_node", "_count", "_floor", "_gone", "bytes_total")

    def __init__(self) -> None:
        self._by_node: dict[Hashable, deque[_Edit]] = {}
        self._floor: dict[int, int] = {}
        """For each client the lowest clock that is unproven, or one below it."""
        self._count = 0
        self._gone = 0
        """Edits taken out since the floor was made anew."""
        self.bytes_total = 0

    def __bool__(self) -> bool:
        return bool(self._by_node)

    @property
    def oldest_at(self) -> float:
        """When the oldest came; infinite if there is none."""
        return min((edits[0].came_at for edits in self._by_node.values()), default=float("inf"))

    def add(self, node: Hashable, sequence: int, data: bytes, inspected: Inspected, now: float) -> None:
        """Keep an edit (what was new in it: ``data``) until its node has stored ``sequence``."""
        starts: dict[int, int] = {}
        for section in inspected.sections:
            starts[section.client] = min(section.clock, starts.get(section.client, section.clock))
        self._by_node.setdefault(node, deque()).append(_Edit(sequence, data, starts, now))
        self.bytes_total += len(data)
        self._count += 1
        self._lower(starts)

    def stored(self, node: Hashable, sequence: int) -> None:
        """A node says that its edits are stored up to this one."""
        edits = self._by_node.get(node)
        if edits is None or edits[0].sequence > sequence:
            return
        while edits and edits[0].sequence <= sequence:
            self.bytes_total -= len(edits.popleft().data)
            self._count -= 1
            self._gone += 1
        if not edits:
            del self._by_node[node]
        self._lift()

    def is_needed_by(self, inspected: Inspected) -> bool:
        """Whether an update stands upon something in here, as far as can be told without walking it again."""
        if not inspected.plain:
            return True
        floor = self._floor
        for section in inspected.sections:
            if section.clock > floor.get(section.client, section.clock):
                return True
            needs = section.needs
            for index in range(0, len(needs), 2):
                if needs[index + 1] >= floor.get(needs[index], needs[index + 1] + 1):
                    return True
        return False

    def take(self, node: Hashable | None = None) -> list[bytes]:
        """Take out the edits of one node, or all of them."""
        nodes = [node] if node is not None else list(self._by_node)
        taken = [edit for name in nodes for edit in self._by_node.pop(name, ())]
        self.bytes_total -= sum(len(edit.data) for edit in taken)
        self._count -= len(taken)
        self._gone += len(taken)
        self._lift()
        return [edit.data for edit in taken]

    def _lift(self) -> None:
        """Make the floor anew, once as much has gone as is left: a floor that is too low does no harm."""
        if self._gone < self._count:
            return
        self._gone = 0
        self._floor = {}
        for edits in self._by_node.values():
            for edit in edits:
                self._lower(edit.starts)

    def _lower(self, starts: dict[int, int]) -> None:
        floor = self._floor
        for client, clock in starts.items():
            if clock < floor.get(client, clock + 1):
                floor[client] = clock
