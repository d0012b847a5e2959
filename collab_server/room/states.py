"""The table of awareness states of one room: what is known, what has gone, and what is still to be told.

It keeps books and bounds and knows no rules: ``room.awareness`` decides whose word counts.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from heapq import heappush

from collab_server.room.member import Member
from collab_server.room.settings import RoomSettings
from collab_server.wire.awareness import AwarenessEntry, encode_awareness

CLOCK_STEP_MAX = 2**32
"""An entry whose clock is further ahead than this is ignored: at 20 renewals a second it is six years' worth,
and nobody could ever speak for a client id that was sent to the end of the numbers."""


@dataclass(slots=True)
class Claim:
    """A newer connection that says that it is this client."""

    member: Member
    clock: int
    state: str
    contested: bool = False
    """Whether it is above the known clock, so that the owner was asked."""
    due: float = 0.0
    """When a contested claim is granted."""


class Client:
    """One client's state, and who speaks for it."""

    __slots__ = (
        "claim", "client", "clock", "due", "elder", "heirs", "left", "node", "owner", "queued_at", "size",
        "state",
    )  # fmt: skip

    def __init__(self, client: int, clock: int, state: str) -> None:
        self.client = client
        self.clock = clock
        self.state = state
        self.size = len(state.encode())
        self.owner: Member | None = None
        """The connection that speaks for it; None if it is on another node, or if it broke."""
        self.node: Hashable = None
        """The node that spoke for it last; None if that is this one, or if it is not known."""
        self.left = False
        """Whether its connection broke, and the grace runs."""
        self.elder: Member | None = None
        """The owner before this one, which may prove that it is alive."""
        self.claim: Claim | None = None
        self.heirs: tuple[Member, ...] = ()
        """Who comes after the claimant, at the known clock: it came back more than once. Oldest first."""
        self.due = 0.0
        """When it is removed unless something happens."""
        self.queued_at = 0.0
        """The time of its one valid entry in the heap."""

    @property
    def entry(self) -> AwarenessEntry:
        """What is said of it."""
        return AwarenessEntry(self.client, self.clock, self.state)


@dataclass(slots=True)
class PresenceFlush:
    """What presence has to say. ``entries`` go to everybody, ``private`` to one member each."""

    payload: bytes | None
    publish: bytes | None
    sole_author: Member | None
    """The member that everything in ``payload`` came from, if there is just one."""
    private: list[tuple[Member, bytes]]


class States:
    """The awareness states of one room. Bounds: see the ``awareness_`` settings."""

    __slots__ = (
        "_bytes_total",
        "_changed",
        "_changes",
        "_expiries",
        "_flushed_at",
        "_flushed_changes",
        "_gone",
        "_live",
        "_local",
        "_private",
        "_questions",
        "_settings",
        "_snapshot",
        "_untold",
        "_waiting_since",
    )

    def __init__(self, settings: RoomSettings) -> None:
        self._settings = settings
        self._live: dict[int, Client] = {}
        self._gone: dict[int, tuple[int, int]] = {}
        """Clients that have gone: their last clock and the count of changes then. Oldest first, bounded."""
        self._bytes_total = 0
        self._changes = 0
        self._flushed_changes = 0
        self._changed: dict[int, Member | None] = {}
        """Clients to tell everybody about, with the member that said so; None for several, or another
        node."""
        self._local: dict[int, None] = {}  # an empty set would take 150 bytes more, in each room
        """Those of them that other nodes do not know yet."""
        self._untold: dict[int, None] = {}
        """Clients that nobody has been told of yet: if they go in the same window, nobody needs to be."""
        self._private: dict[Member, dict[int, int]] = {}
        """Nulls for one member each: client id -> clock."""
        self._questions: dict[int, None] = {}
        """Clients that are gone here and that other nodes are to be asked about, by a null."""
        self._waiting_since: float | None = None
        self._flushed_at = -1e9
        self._expiries: list[tuple[float, int]] = []
        self._snapshot: bytes | None = None

    # -- what is to be sent

    def snapshot(self) -> bytes | None:
        """Everybody who is here, as a payload; None if nobody is. Shared until something changes."""
        if not self._live:
            return None
        if self._snapshot is None:
            self._untold.clear()
            self._snapshot = encode_awareness([client.entry for client in self._live.values()])
        return self._snapshot

    def own_snapshot(self) -> bytes | None:
        """Those for whom this node speaks, as a payload; None if there are none."""
        own = [c.entry for c in self._live.values() if c.owner is not None or c.left]
        return encode_awareness(own) if own else None

    def farewell(self) -> bytes | None:
        """The removal of all those for whom this node speaks, as a payload; None if there are none."""
        own = [c for c in self._live.values() if c.owner is not None or c.left]
        return encode_awareness([AwarenessEntry(c.client, c.clock, None) for c in own]) if own else None

    def entries(self) -> list[tuple[AwarenessEntry, Hashable]]:
        """Everybody who is here, each with the node that speaks for it; None for this one."""
        return [(client.entry, client.node) for client in self._live.values()]

    @property
    def told(self) -> int:
        """A number that stands for what was flushed until now; for ``since``."""
        return self._flushed_changes

    def since(self, told: int) -> bytes | None:
        """Everybody who is here, and who has gone since ``told``; None if nothing has changed."""
        if told == self._changes:
            return None
        self._untold.clear()
        entries = [client.entry for client in self._live.values()]
        entries += [AwarenessEntry(c, clock, None) for c, (clock, at) in self._gone.items() if at > told]
        return encode_awareness(entries) if entries else None

    def next_due(self) -> float | None:
        """When ``flush`` has something to do."""
        due: float | None = None
        if self._waiting_since is not None:
            due = max(self._waiting_since, self._flushed_at + self._settings.awareness_window_ms / 1000)
        if self._expiries and (due is None or self._expiries[0][0] < due):
            due = self._expiries[0][0]
        return due

    def flush(self, now: float) -> PresenceFlush | None:
        """Let go of who is due, and say what is to be sent, if the window allows it now."""
        if self._waiting_since is None:
            return None
        if now < self._flushed_at + self._settings.awareness_window_ms / 1000:
            return None
        self._waiting_since = None
        self._flushed_at = now
        self._flushed_changes = self._changes
        private = [
            (member, encode_awareness([AwarenessEntry(c, clock, None) for c, clock in nulls.items()]))
            for member, nulls in self._private.items()
        ]
        self._private = {}
        told = [client for client in self._changed if client in self._local]
        if self._questions:
            told += [c for c in self._questions if c in self._gone and c not in self._local]
            self._questions = {}
        if not self._changed:
            publish = encode_awareness([self._latest(c) for c in told]) if told else None
            return PresenceFlush(None, publish, None, private)
        payload = encode_awareness([self._latest(client) for client in self._changed])
        publish = payload
        if told != list(self._changed):
            publish = encode_awareness([self._latest(c) for c in told]) if told else None
        authors = set(self._changed.values())
        sole_author = authors.pop() if len(authors) == 1 else None
        self._changed = {}
        self._local = {}
        self._untold.clear()
        while len(self._gone) > self._settings.awareness_tombstones_max:
            self._forget_oldest()
        return PresenceFlush(payload, publish, sole_author, private)

    # -- the books

    def _drop_claim(self, client: Client) -> None:
        """End what others than the owner say of a client."""
        if client.claim is not None:
            client.claim.member.claim = None
            client.claim = None
        for heir in client.heirs:
            heir.claim = None
        client.heirs = ()

    def _withdraw(self, member: Member) -> None:
        """A member claims nothing any more; whoever came after it moves up."""
        client = None if member.claim is None else self._live.get(member.claim)
        member.claim = None
        if client is None:
            return
        if client.claim is not None and client.claim.member is member:
            client.claim = None
            self._move_up(client)
        else:
            client.heirs = tuple(heir for heir in client.heirs if heir is not member)

    def _move_up(self, client: Client) -> None:
        """The first of the heirs claims, where nobody does."""
        if client.claim is None and client.heirs:
            heir, *rest = client.heirs
            client.claim = Claim(heir, client.clock, client.state)
            client.heirs = tuple(rest)

    def _own(self, client: Client, member: Member) -> None:
        if client.owner is not None:
            disown(client.owner, client.client)
        client.owner = member
        client.left = False
        client.node = None
        member.owned = (*member.owned, client.client)

    def _ask(self, member: Member, client_id: int, clock: int, now: float) -> None:
        """Tell one member that a client has gone: if it is that client, it answers with a higher clock."""
        self._private.setdefault(member, {})[client_id] = clock
        self._wait(now)

    def _question(self, client_id: int, now: float) -> None:
        """Tell other nodes that a client has gone here: if it lives, its own node asks it to say so."""
        self._questions[client_id] = None
        self._wait(now)

    def _is_news(self, entry: AwarenessEntry) -> bool:
        gone = self._gone.get(entry.client)
        known = gone[0] if gone is not None else -1
        return known < entry.clock <= max(known, 0) + CLOCK_STEP_MAX

    def _has_room_for(self, client: Client | None, state: str) -> bool:
        if client is None and len(self._live) >= self._settings.awareness_clients_max:
            return False
        freed = 0 if client is None else client.size
        return self._bytes_total - freed + len(state.encode()) <= self._settings.awareness_bytes_max

    def _add(self, client_id: int, clock: int, state: str, member: Member | None, now: float) -> None:
        client = Client(client_id, clock, state)
        self._live[client_id] = client
        self._gone.pop(client_id, None)
        self._bytes_total += client.size
        if member is not None:
            self._own(client, member)
        self._set_due(client, now + self._settings.presence_timeout_s)
        if client_id not in self._changed:
            self._untold[client_id] = None
        self._mark(client_id, member, now, local=member is not None)

    def _set_state(self, client: Client, clock: int, state: str, member: Member | None, now: float) -> None:
        client.clock = clock
        if state != client.state:
            self._bytes_total -= client.size
            client.state = state
            client.size = len(state.encode())
            self._bytes_total += client.size
        self._set_due(client, now + self._settings.presence_timeout_s)
        self._mark(client.client, member, now, local=member is not None)

    def _remove(self, client: Client, clock: int, member: Member | None, now: float, *, local: bool) -> None:
        self._drop_claim(client)
        if client.owner is not None:
            disown(client.owner, client.client)
        del self._live[client.client]
        self._bytes_total -= client.size
        self._mark(client.client, member, now, local=local)
        if client.client in self._untold:
            del self._untold[client.client]
            self._local.pop(client.client, None)
            del self._changed[client.client]
        self._gone[client.client] = (clock, self._changes)
        if len(self._gone) > self._settings.awareness_tombstones_max:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        # What is still to be sent is looked up at the flush, so it has to be here until then.
        for client_id in self._gone:
            if client_id not in self._changed:
                del self._gone[client_id]
                return

    def _bury_deeper(self, entry: AwarenessEntry) -> None:
        gone = self._gone.get(entry.client)
        if gone is not None and 0 < entry.clock - gone[0] <= CLOCK_STEP_MAX:
            self._gone[entry.client] = (entry.clock, gone[1])

    def _latest(self, client_id: int) -> AwarenessEntry:
        client = self._live.get(client_id)
        return (
            client.entry if client is not None else AwarenessEntry(client_id, self._gone[client_id][0], None)
        )

    def _mark(self, client_id: int, member: Member | None, now: float, *, local: bool) -> None:
        self._changes += 1
        self._snapshot = None
        if client_id in self._changed and self._changed[client_id] is not member:
            member = None
        self._changed[client_id] = member
        if local:
            self._local[client_id] = None
        self._wait(now)

    def _wait(self, now: float) -> None:
        if self._waiting_since is None:
            self._waiting_since = now

    # -- times

    def _set_due(self, client: Client, due: float) -> None:
        client.due = due
        self._requeue(client)

    def _requeue(self, client: Client) -> None:
        """Have the heap wake us up in time. A later time needs no new entry: the old one finds it."""
        due = _next_due_of(client)
        if not client.queued_at or due < client.queued_at:
            client.queued_at = due
            heappush(self._expiries, (due, client.client))


def disown(member: Member, client_id: int) -> None:
    """A member speaks for a client no more."""
    member.owned = tuple(other for other in member.owned if other != client_id)


def _next_due_of(client: Client) -> float:
    if client.claim is not None and client.claim.contested:
        return min(client.due, client.claim.due)
    return client.due
