"""Look through one update: is it sound, whose structs does it bring, what do they need?

Walks the bytes once. This runs for each keystroke of each client, so its loop makes no object for a struct,
and the var-ints that every struct has are read in place. What is noted is what a document cannot tell from
clocks alone: ids of other clients that must be there first, and where a struct hangs elsewhere in the tree
than the one before it.
"""

from __future__ import annotations

from array import array

from collab_server.errors import CloseCode, MalformedError, TooBigError
from collab_server.wire.lib0 import VAR_UINT_MAX, read_var_uint
from collab_server.ydoc.bounds import DEFAULT_BOUNDS, Bounds
from collab_server.ydoc.content import GC, SKIP, STRING, TYPE, read_content, skip_string
from collab_server.ydoc.idset import read_spans
from collab_server.ydoc.structs import HAS_KEY, HAS_ORIGIN, HAS_RIGHT, REF_BITS

BESIDE = 0
"""Anchor: the struct hangs where another one does."""
INSIDE = 1
"""Anchor: the struct hangs in the type that another struct holds."""
ROOT = 2
"""Anchor: the struct hangs in a root type."""
HOLDS_TYPE = 4
"""Added to an anchor's kind: the struct is itself a shared type."""

_NOTES_MAX = 8192
"""Notes kept for one update; with more of them it is walked a second time instead, which costs no memory."""

_PLACELESS = (GC, SKIP)

_NO_SPANS: array[int] = array("q")


class Section:
    """The structs of one client in an update."""

    __slots__ = ("anchors", "at", "client", "clock", "count", "end", "gaps", "needs", "nests", "until")

    def __init__(self, client: int, clock: int, at: int) -> None:
        self.client = client
        self.clock = clock
        """The first clock."""
        self.end = clock
        """The clock after the last struct."""
        self.at = at
        """Where the first struct begins in the update."""
        self.until = at
        """The position after the last struct."""
        self.count = 0
        """How many structs there are, Skips included."""
        self.gaps = False
        """Whether there are Skips."""
        self.nests = False
        """Whether some struct hangs in a type that a struct holds."""
        self.needs: list[int] = []
        """Flat (client, clock) pairs: ids of other clients that must be known first."""
        self.anchors: list[int] = []
        """Flat (clock, kind, client, clock): structs that do not just follow the one before them."""


class Inspected:
    """An update that is sound, and what was seen in it."""

    __slots__ = ("data", "plain", "sections", "spans")

    def __init__(self, data: bytes, sections: list[Section], spans: array[int], plain: bool) -> None:
        self.data = data
        self.sections = sections
        """One for each client that has structs in the update, as they come."""
        self.spans = spans
        """What it deletes, as flat (client, start, end) triples, in any order."""
        self.plain = plain
        """Whether needs and anchors are complete, nothing is skipped, and each client comes once."""

    @property
    def is_empty(self) -> bool:
        """Whether it brings neither structs nor deletions."""
        return not self.sections and not self.spans


def inspect(data: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> Inspected:
    """Walk an update.

    Raises:
        MalformedError: A Yjs client would choke on it, or it breaks the bounds on depth.
        TooBigError: It is longer, or has more parts, than the bounds allow.
    """
    size = len(data)
    if size > bounds.update_bytes_max:
        raise TooBigError("update too big", CloseCode.TOO_BIG)
    sections: list[Section] = []
    plain = True
    try:
        remaining, at = (data[0], 1) if data[0] < 0x80 else read_var_uint(data, 0)
        if remaining:
            at, plain = _read_sections(data, at, remaining, sections, bounds)
        if at + 1 == size and data[at] == 0:
            return Inspected(data, sections, _NO_SPANS, plain)
        spans, at = read_spans(data, at, bounds.update_parts_max)
    except IndexError:
        raise MalformedError("truncated update") from None
    if at != size:
        raise MalformedError("bytes left over after an update" if at < size else "truncated update")
    return Inspected(data, sections, spans, plain)


def _read_sections(  # noqa: C901, PLR0912, PLR0915 - one loop, in one piece, for the sake of speed
    data: bytes, at: int, remaining: int, sections: list[Section], bounds: Bounds
) -> tuple[int, bool]:
    """Read the structs of each client; the position after them, and whether the update is plain."""
    clients: set[int] = set()
    repeated = gaps = crowded = False
    parts_left = bounds.update_parts_max
    for _ in range(remaining):
        count = data[at]
        if count < 0x80:
            at += 1
        else:
            count, at = read_var_uint(data, at)
        if count * 2 > len(data) - at:
            raise MalformedError("update announces too many structs")
        parts_left -= count
        if parts_left < 0 or len(sections) > bounds.state_vector_entries_max:
            raise TooBigError("update of too many parts", CloseCode.TOO_BIG)
        id_at = at
        client, at = read_var_uint(data, at)
        id_bytes = data[id_at:at]
        id_size = at - id_at
        clock = data[at]
        if clock < 0x80:
            at += 1
        else:
            clock, at = read_var_uint(data, at)
        if not count:
            continue
        if client in clients:
            repeated = True
        clients.add(client)
        section = Section(client, clock, at)
        sections.append(section)
        anchors = section.anchors
        needs = section.needs
        for _ in range(count):
            info = data[at]
            at += 1
            ref = info & REF_BITS
            if info & (HAS_ORIGIN | HAS_RIGHT):
                if info & HAS_ORIGIN:
                    if data.startswith(id_bytes, at):
                        origin = client
                        at += id_size
                    else:
                        origin, at = read_var_uint(data, at)
                    origin_clock = data[at]
                    if origin_clock < 0x80:
                        at += 1
                    else:
                        # two groups are what most clocks take
                        byte = data[at + 1]
                        if byte < 0x80:
                            origin_clock += (byte << 7) - 0x80
                            at += 2
                        else:
                            origin_clock, at = read_var_uint(data, at)
                    if origin == client:
                        if origin_clock >= clock:
                            raise MalformedError("a struct that comes before its own origin")
                    else:
                        needs.append(origin)
                        needs.append(origin_clock)
                if info & HAS_RIGHT:
                    if data.startswith(id_bytes, at):
                        right = client
                        at += id_size
                    else:
                        right, at = read_var_uint(data, at)
                    right_clock, at = read_var_uint(data, at)
                    if right == client:
                        if right_clock >= clock:
                            raise MalformedError("a struct that comes before its own origin")
                    else:
                        needs.append(right)
                        needs.append(right_clock)
                        if len(needs) > _NOTES_MAX:
                            crowded = True
                            needs.clear()
                    if not info & HAS_ORIGIN:
                        origin, origin_clock = right, right_clock
                if ref == TYPE or origin != client or origin_clock != clock - 1:
                    if len(anchors) > _NOTES_MAX or len(needs) > _NOTES_MAX:
                        crowded = True
                        anchors.clear()
                        needs.clear()
                    anchors += (clock, BESIDE + HOLDS_TYPE if ref == TYPE else BESIDE, origin, origin_clock)
            elif ref in _PLACELESS:
                if info != ref:
                    raise MalformedError("unknown kind of struct")
                length, at = read_var_uint(data, at)
                if not length:
                    raise MalformedError("a struct without length")
                clock += length
                if ref == SKIP:
                    section.gaps = gaps = True
                continue
            else:
                at = _read_parent(data, at, info, section, clock)
                if len(anchors) > _NOTES_MAX:
                    crowded = True
                    anchors.clear()
                    needs.clear()
            if ref == STRING:
                length = data[at]
                if length < 0x80:
                    at += 1
                else:
                    length, at = read_var_uint(data, at)
                if length == 1:
                    if data[at] >= 0x80:
                        raise MalformedError("string is not UTF-8")
                    at += 1
                    clock += 1
                    continue
                raw = data[at : at + length]
                at += length
                if not raw.isascii():
                    try:
                        length = len(raw.decode().encode("utf-16-le")) >> 1
                    except UnicodeDecodeError:
                        raise MalformedError("string is not UTF-8") from None
            elif ref in _PLACELESS:
                raise MalformedError("unknown kind of struct")
            else:
                length, _, at = read_content(data, at, ref, bounds)
            if not length:
                raise MalformedError("a struct without length")
            clock += length
        if clock > VAR_UINT_MAX:
            raise MalformedError("a clock beyond the largest one")
        section.until = at
        section.end = clock
        section.count = count
    return at, not (repeated or gaps or crowded)


def _read_parent(data: bytes, at: int, info: int, section: Section, clock: int) -> int:
    """Read the parent of a struct without origins, and note it."""
    holds = HOLDS_TYPE if info & REF_BITS == TYPE else 0
    named, at = read_var_uint(data, at)
    if named == 1:
        at = skip_string(data, at)
        section.anchors += (clock, ROOT + holds, 0, 0)
    else:
        parent, at = read_var_uint(data, at)
        parent_clock, at = read_var_uint(data, at)
        if parent != section.client:
            section.needs += (parent, parent_clock)
        elif parent_clock >= clock:
            raise MalformedError("a struct that comes before its own parent")
        section.nests = True
        section.anchors += (clock, INSIDE + holds, parent, parent_clock)
    if info & HAS_KEY:
        at = skip_string(data, at)
    return at
