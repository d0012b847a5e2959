"""What somebody may take part in who may write under some root types only.

Nothing that such an update says of itself is believed. Each struct must refer to what is known, and each of
its references (origin, right origin, parent) must live under a root that may be written: two clients need not
agree on which of them counts. What has lost its place may be referred to: what hangs there is dead for
everybody, and an honest client that was away cannot know that something was deleted and collected.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from collab_server.errors import RefusedError
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.content import FORMAT, GC
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import Inspected, inspect
from collab_server.ydoc.integration import runs_of
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.pending import Run
from collab_server.ydoc.roots import DEAD, UNKNOWN, Lane, Places, RootIndex, Walk, types_on
from collab_server.ydoc.structs import NOBODY, Struct, cut, read_structs
from collab_server.ydoc.update import write_sections

_LOOKED_AT_MAX = 16
"""So many deleted structs are looked at to tell whether a client only tidies up."""

_NAME_BYTES_MAX = 48
"""So much of a root's name is repeated in a reason, which has 123 bytes at most."""


Span = tuple[int, int, int]
"""Client, start and end (exclusive) of some ids."""


def narrow(
    index: RootIndex, log: DocumentLog, inspected: Inspected, roots: frozenset[str], *, is_answer: bool
) -> Inspected | None:
    """What of an update may be taken from somebody who may write under ``roots`` only; None if nothing is.

    What is known is left out, and so are deletions that no person made: in an answer all that are not
    allowed, in an update those by which Yjs tidies up the formats of texts that others have changed (yjs
    ``cleanupYTextAfterTransaction``). ``index`` must have kept up; it and the log are not changed.

    Raises:
        RefusedError: It writes under another root, deletes there, or refers to what is not known.
    """
    scope = _Scope(index, roots)
    fresh = fresh_deletions(log, inspected.spans) if inspected.spans else []
    if not (fresh and inspected.sections) and _types_on(scope, inspected):
        allowed = _allowed_deletions(scope, log, fresh, is_answer=is_answer)
        if allowed is fresh and (fresh or inspected.sections):
            return inspected
    walk = _UpdateWalk(scope, log, inspected)
    try:
        walk.run()
        allowed = _allowed_deletions(scope, log, fresh, is_answer=is_answer)
    finally:
        walk.undo()
    sections = walk.sections()
    if not sections and not allowed:
        return None
    if walk.is_whole and allowed is fresh:
        return inspected
    spans = array("q", [number for span in allowed for number in span])
    return inspect(write_sections(sections, spans), UNBOUNDED)


def strays(index: RootIndex, client: int, roots: frozenset[str]) -> bool:
    """Whether a client id has written under other roots than these."""
    places = index.clients.get(client)
    return places is not None and any(code != DEAD and index.names[code] not in roots for code in places.seen)


def deletes_formats_only(log: DocumentLog, spans: list[Span]) -> bool:
    """Whether these deletions hit marks of formats, as far as a short look can tell."""
    left = _LOOKED_AT_MAX
    for client, start, end in sorted(spans, key=lambda span: span[1] - span[2]):
        reached = start
        for struct in log.structs_from(client, start):
            if struct.clock >= end:
                break
            if struct.ref != FORMAT:
                return False
            reached = struct.end
            left -= 1
            if not left:
                return True
        if reached < end:
            return False
    return True


def fresh_deletions(log: DocumentLog, spans: array[int]) -> list[Span]:
    """The deletions that the log does not have."""
    if len(spans) == 3:
        client, start, end = spans
        return [(client, *part) for part in log.deletes.uncovered(client, start, end)]
    return [
        (client, *part)
        for client, start, end in IdSet.of_spans(spans)
        for part in log.deletes.uncovered(client, start, end)
    ]


def _clip(name: str) -> str:
    """As much of a name as fits into a reason, without what cannot be printed."""
    shown = "".join(sign if sign.isprintable() else "?" for sign in name[: _NAME_BYTES_MAX + 1])
    raw = shown.encode()
    if len(raw) <= _NAME_BYTES_MAX:
        return shown
    return raw[:_NAME_BYTES_MAX].decode(errors="ignore") + "..."


class _Scope:
    """Some roots of a document, as codes."""

    def __init__(self, index: RootIndex, roots: frozenset[str]) -> None:
        self.index = index
        self.roots = roots
        self._codes = {DEAD}

    def holds(self, code: int) -> bool:
        """Whether this root, or what has lost its place, may be written."""
        if code in self._codes:
            return True
        if code == UNKNOWN or self.index.names[code] not in self.roots:
            return False
        self._codes.add(code)
        return True

    def check(self, client: int, clock: int) -> None:
        """Refuse a reference to an id that may not be written beside or inside of."""
        code = self.index.code_at(client, clock)
        if not self.holds(code):
            raise self.refusal(code)

    def refusal(self, code: int) -> RefusedError:
        """Why a code is refused."""
        return _missing() if code == UNKNOWN else _not_under(self.index.names[code])


def _types_on(scope: _Scope, inspected: Inspected) -> bool:
    """Whether all that an update writes is one struct each where its clients wrote last, and allowed.

    If not it has to be walked through. This answers for most keystrokes in little time.
    """
    clients = scope.index.clients
    for section in inspected.sections:
        places = clients.get(section.client)
        if places is None or not types_on(places, section, inspected):
            return False
        for code in places.seen:
            if not scope.holds(code):
                return False
        needs = section.needs
        for index in range(0, len(needs), 2):
            if not scope.holds(scope.index.code_at(needs[index], needs[index + 1])):
                return False
    return True


def _allowed_deletions(scope: _Scope, log: DocumentLog, fresh: list[Span], *, is_answer: bool) -> list[Span]:
    """Which of these deletions may be made; the very same object if all. Raises RefusedError."""
    allowed: list[Span] = []
    others: list[Span] = []
    forbidden = UNKNOWN
    is_all = True
    for client, start, end in fresh:
        places = scope.index.clients.get(client)
        known = start if places is None else max(start, min(places.end, end))
        if known < end:
            if not is_answer:
                raise RefusedError("this edit deletes what the server does not have")
            is_all = False
        if places is not None and start < known:
            for code, begin, until in places.stretches(start, known):
                if scope.holds(code):
                    allowed.append((client, begin, until))
                else:
                    others.append((client, begin, until))
                    forbidden = code
    if others and not is_answer and not deletes_formats_only(log, others):
        raise scope.refusal(forbidden)
    return fresh if is_all and not others else allowed


class _UpdateWalk(Walk):
    """Puts the structs of an update into the index, until ``undo``, and stops at the first forbidden one."""

    def __init__(self, scope: _Scope, log: DocumentLog, inspected: Inspected) -> None:
        super().__init__(scope.index.clients)
        self._scope = scope
        self._inspected = inspected
        self._marks: dict[int, tuple[int, int, int, int] | None] = {}
        self._kept: dict[int, list[Struct]] = {}
        vector = log.state_vector
        self.is_whole = inspected.plain and all(
            section.clock == vector.get(section.client, 0) for section in inspected.sections
        )
        """Whether all structs are new and can be taken as they are."""
        self._runs: dict[int, list[Run]] = {}
        for run in runs_of(inspected):
            if run.end > vector.get(run.client, 0):
                self._runs.setdefault(run.client, []).append(run)

    def run(self) -> None:
        """Walk through all of it. Raises RefusedError."""
        self.left = 2**53
        for client in self._runs:
            self.follow(client)

    def undo(self) -> None:
        """Leave the index as it was."""
        for client, mark in self._marks.items():
            if mark is None:
                del self.clients[client]
            else:
                self.clients[client].reset(mark)

    def sections(self) -> list[tuple[int, int, int, bytes]]:
        """What is new, as (client, clock, count, structs)."""
        if self.is_whole:
            data = self._inspected.data
            return [(s.client, s.clock, s.count, data[s.at : s.until]) for s in self._inspected.sections]
        return [
            (client, structs[0].clock, len(structs), b"".join([struct.raw() for struct in structs]))
            for client, structs in self._kept.items()
        ]

    # -- as a walk

    def lane_of(self, client: int) -> Lane | None:
        """The structs of a client in the update."""
        runs = self._runs.get(client)
        if runs is None:
            return None
        runs.sort()
        return Lane(client, _structs_of(runs))

    def begin_of(self, places: Places, struct: Struct, client: int) -> Struct | None:
        """The new part of a struct: it hangs where the known part does, whatever the update says."""
        if struct.end <= places.end:
            return None
        if struct.clock > places.end:
            raise _missing()
        return cut(struct, client, places.end, struct.end)

    def places_for(self, client: int) -> Places:
        """A client's places, and a note of where they ended."""
        places = super().places_for(client)
        if client not in self._marks:
            self._marks[client] = places.mark() if places.end else None
        return places

    def code_for(self, name: bytes) -> int:
        """The code of a root's name, if that may be written."""
        if name.decode() not in self._scope.roots:
            raise _not_under(name.decode())
        return self._scope.index.code_for(name)

    def check(self, client: int, struct: Struct, code: int) -> None:
        """Refuse a struct that refers to what it may not."""
        if struct.ref != GC:
            if struct.origin_client != NOBODY:
                self._scope.check(struct.origin_client, struct.origin_clock)
            if struct.right_client != NOBODY:
                self._scope.check(struct.right_client, struct.right_clock)
            if struct.parent_client != NOBODY:
                self._scope.check(struct.parent_client, struct.parent_clock)
                bearer = self.clients[struct.parent_client]
                if code != DEAD and not bearer.may_bear(struct.parent_clock):
                    raise RefusedError("this edit hangs in something that can hold nothing")
        if not self.is_whole:
            self._kept.setdefault(client, []).append(struct)


def _structs_of(runs: list[Run]) -> Iterator[Struct]:
    for run in runs:
        yield from read_structs(run.data, run.at, run.until, run.clock)


def _missing() -> RefusedError:
    return RefusedError("this edit builds on what the server does not have")


def _not_under(name: str) -> RefusedError:
    return RefusedError(f'this connection may not write under "{_clip(name)}"')
