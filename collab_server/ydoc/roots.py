"""Which root type each struct of a document lives under.

Only a struct without origins names its parent, and only a root type has a name. All others live where their
origin does, else their right origin, else the item that holds their parent type (yjs ``Item.getMissing``). So
an index of places is made by walking the structs in the order in which causality allows it, once, and kept
up to date from there. It is short: whoever writes stays under one root for long.

Not every struct has a place. A GC struct has lost it, and so has all that refers to it: Yjs makes GC structs
of those as well.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from collab_server.ydoc.content import DELETED, GC, TYPE
from collab_server.ydoc.inspection import Inspected, Section
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.structs import NOBODY, REF_BITS, Struct, root_name

DEAD = 0
"""The code of what has lost its place."""
UNKNOWN = 1
"""The code of what a sound document does not have: nobody may write there."""


class Places:
    """Where the structs of one client live, from clock 0 to ``end``."""

    __slots__ = ("bearer_ends", "bearers", "clocks", "codes", "end", "seen")

    def __init__(self) -> None:
        self.clocks: array[int] = array("q")
        """From these clocks on structs live under another root than before."""
        self.codes: array[int] = array("q")
        self.bearers: array[int] = array("q")
        """Where ranges of structs begin in which others may hang: shared types, and what is deleted and may
        have been one."""
        self.bearer_ends: array[int] = array("q")
        self.seen: set[int] = set()
        """All codes that there are."""
        self.end = 0

    def code_at(self, clock: int) -> int:
        """The code of the root of the struct at ``clock``, which is below ``end``."""
        clocks = self.clocks
        if clock >= clocks[-1]:
            return self.codes[-1]
        return self.codes[bisect_right(clocks, clock) - 1]

    def stretches(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Code, start and end of each stretch between two clocks that are not above ``end``."""
        index = bisect_right(self.clocks, start) - 1
        while start < end:
            index += 1
            until = min(self.clocks[index], end) if index < len(self.clocks) else end
            yield self.codes[index - 1], start, until
            start = until

    def may_bear(self, clock: int) -> bool:
        """Whether structs may hang in the one at ``clock``."""
        index = bisect_right(self.bearers, clock) - 1
        return index >= 0 and clock < self.bearer_ends[index]

    def put(self, struct: Struct, code: int) -> None:
        """Note the struct that comes next."""
        codes = self.codes
        if not codes or codes[-1] != code:
            self.clocks.append(self.end)
            codes.append(code)
            self.seen.add(code)
        if struct.ref in (TYPE, DELETED):
            if self.bearer_ends and self.bearer_ends[-1] == self.end:
                self.bearer_ends[-1] = struct.end
            else:
                self.bearers.append(self.end)
                self.bearer_ends.append(struct.end)
        self.end = struct.end

    def mark(self) -> tuple[int, int, int, int]:
        """Where we stand; for ``reset``."""
        last = self.bearer_ends[-1] if self.bearer_ends else 0
        return self.end, len(self.codes), len(self.bearers), last

    def reset(self, mark: tuple[int, int, int, int]) -> None:
        """Forget what was put after a mark."""
        self.end, codes, bearers, last = mark
        if len(self.codes) > codes:
            del self.clocks[codes:], self.codes[codes:]
            self.seen = set(self.codes)
        del self.bearers[bearers:], self.bearer_ends[bearers:]
        if bearers:
            self.bearer_ends[-1] = last


def types_on(places: Places, section: Section, inspected: Inspected) -> bool:
    """Whether a section is one struct where its client has written last, in which nothing can hang."""
    return (
        section.count == 1
        and not section.anchors
        and section.clock == places.end > 0
        and places.codes[-1] != DEAD
        and inspected.plain
        and inspected.data[section.at] & REF_BITS not in (GC, DELETED)
    )


Id = tuple[int, int]
"""Client and clock."""


class Lane:
    """The structs of one client that are to be noted, in order, and the one that waits for others."""

    __slots__ = ("client", "structs", "waiting")

    def __init__(self, client: int, structs: Iterable[Struct]) -> None:
        self.client = client
        self.structs = iter(structs)
        self.waiting: Struct | None = None


class Walk:
    """One walk through lanes of structs, which puts each into ``clients`` after what it refers to.

    Subclasses say where lanes come from, and look at each struct before it is noted.
    """

    def __init__(self, clients: dict[int, Places]) -> None:
        self.clients = clients
        self.lanes: dict[int, Lane] = {}
        self._stacked: set[int] = set()
        self._blocked: set[int] = set()
        """Clients that wait for one further down the stack, since something was noted last."""
        self.left = 0
        """How many more structs may be noted. A walk that stops can be begun anew."""

    def lane_of(self, client: int) -> Lane | None:
        """A client's structs, if there are any that are not noted; asked once for each client."""
        raise NotImplementedError

    def begin_of(self, places: Places, struct: Struct, client: int) -> Struct | None:
        """What is to be noted of a struct that does not begin where the client's places end."""
        raise NotImplementedError

    def check(self, client: int, struct: Struct, code: int) -> None:
        """Look at a struct before it is noted."""

    def code_for(self, name: bytes) -> int:
        """The code of a root type's name."""
        raise NotImplementedError

    def places_for(self, client: int) -> Places:
        """A client's places, to put something in."""
        places = self.clients.get(client)
        if places is None:
            places = self.clients[client] = Places()
        return places

    def follow(self, client: int) -> None:
        """Note all that there is of one client, and first, of others, what it refers to."""
        stack = [(client, 2**53)]
        stacked = self._stacked = {client}
        self._blocked.clear()
        while stack and self.left > 0:
            awaited = self._advance(*stack[-1])
            if awaited is None:
                stacked.discard(stack.pop()[0])
            else:
                stack.append(awaited)
                stacked.add(awaited[0])

    def _advance(self, client: int, goal: int) -> Id | None:
        """Note a client's structs up to the clock ``goal``; the id that one of them must wait for, if so."""
        lane = self._lane(client)
        if lane is None:
            return None
        places = self.places_for(client)
        struct = lane.waiting or next(lane.structs, None)
        lane.waiting = None
        while struct is not None and self.left > 0 and places.end <= goal:
            if struct.clock != places.end:
                begun = self.begin_of(places, struct, client)
                if begun is None:
                    struct = next(lane.structs, None)
                    continue
                struct = begun
            awaited = self._awaited(struct, client)
            if awaited is not None and awaited[0] not in self._stacked and self._may_come(awaited[0]):
                lane.waiting = struct
                return awaited
            code = self._code_of(struct)
            self.check(client, struct, code)
            places.put(struct, code)
            self.left -= 1
            struct = next(lane.structs, None)
        lane.waiting = struct
        return None

    def _lane(self, client: int) -> Lane | None:
        lane = self.lanes.get(client)
        if lane is None:
            lane = self.lane_of(client)
            if lane is not None:
                self.lanes[client] = lane
        return lane

    def _may_come(self, client: int) -> bool:
        lane = self._lane(client)
        if lane is None:
            return False
        if lane.waiting is None:
            lane.waiting = next(lane.structs, None)
        return lane.waiting is not None

    def _awaited(self, struct: Struct, client: int) -> Id | None:
        """An id of another client that must be noted first, if there is one (yjs ``Item.getMissing``).

        Who is waited for and waits in turn would never come: those are left to be found missing.
        """
        clients = self.clients
        other = struct.origin_client
        if other not in (client, NOBODY):
            places = clients.get(other)
            if places is None or struct.origin_clock >= places.end:
                return other, struct.origin_clock
        other = struct.right_client
        if other not in (client, NOBODY):
            places = clients.get(other)
            if places is None or struct.right_clock >= places.end:
                return other, struct.right_clock
        other = struct.parent_client
        if other not in (client, NOBODY):
            places = clients.get(other)
            if places is None or struct.parent_clock >= places.end:
                return other, struct.parent_clock
        return None

    def _code_of(self, struct: Struct) -> int:
        if struct.ref == GC:
            return DEAD
        if struct.origin_client != NOBODY:
            code = self.code_at(struct.origin_client, struct.origin_clock)
            # Yjs would bury it with its origin; yrs puts it beside its right origin.
            if code != DEAD or struct.right_client == NOBODY:
                return code
        if struct.right_client != NOBODY:
            return self.code_at(struct.right_client, struct.right_clock)
        if struct.parent_client != NOBODY:
            return self.code_at(struct.parent_client, struct.parent_clock)
        return self.code_for(root_name(struct))

    def code_at(self, client: int, clock: int) -> int:
        """The code of the root of an id; UNKNOWN where the id is not noted."""
        places = self.clients.get(client)
        return UNKNOWN if places is None or clock >= places.end else places.code_at(clock)


class RootIndex(Walk):
    """The places of all structs of a log.

    ``keep_up`` after the log has changed; what it has not noted yet is not known to those who ask. ``close``
    when it is not needed any more. One log has one index at a time.
    """

    def __init__(self, log: DocumentLog) -> None:
        super().__init__({})
        self._log = log
        self._codes: dict[bytes, int] = {}
        self.names: list[str] = ["", ""]
        """The name of the root type of each code."""
        self._behind = log.advanced = set(log.state_vector)

    @property
    def is_behind(self) -> bool:
        """Whether the log has structs that are not noted."""
        return bool(self._behind)

    def follow_edit(self, inspected: Inspected) -> None:
        """Note an edit that the log has just taken in, where that is as simple as somebody typing on."""
        vector, behind = self._log.state_vector, self._behind
        for section in inspected.sections:
            client = section.client
            places = self.clients.get(client)
            if (
                places is not None
                and section.end == vector.get(client)
                and types_on(places, section, inspected)
            ):
                places.end = section.end
                behind.discard(client)

    def keep_up(self, structs_max: int = 2**53) -> None:
        """Note what the log has and this index has not, but not many more structs than that."""
        behind = self._behind
        self.left = structs_max
        while behind and self.left > 0:
            client = behind.pop()
            self.follow(client)
            if self.left <= 0:
                behind.add(client)
        self.lanes.clear()

    def close(self) -> None:
        """Have the log note nothing for this index any more."""
        self._log.advanced = None

    def lane_of(self, client: int) -> Lane | None:
        """What the log has of a client."""
        places = self.clients.get(client)
        return Lane(client, self._log.structs_from(client, places.end if places is not None else 0))

    def begin_of(self, places: Places, struct: Struct, client: int) -> Struct | None:
        """The rest of a struct whose beginning was noted before it was joined with what came after it."""
        struct.length = struct.end - places.end
        struct.clock = places.end
        struct.origin_client, struct.origin_clock = client, places.end - 1
        return struct

    def code_for(self, name: bytes) -> int:
        """The code of a root type's name."""
        code = self._codes.get(name)
        if code is None:
            code = self._codes[name] = len(self.names)
            self.names.append(name.decode())
        return code
