"""Who is here: the awareness states of one room, and which connection speaks for which of them.

The clocks are those of y-protocols (``awareness.js``, ``applyAwarenessUpdate``): an entry wins with a higher
clock, and with an equal clock null wins over a state. A client that is removed by others while it is alive
answers with a higher clock, so a null at the known clock (what ``removeAwarenessStates`` makes of another
client) is both the way to remove a client and a harmless question whether it is there.

Whose word counts. Clients repeat what they heard: the y-websocket provider sends on every change of its
awareness, also those that came from others, and it removes others after 30 s on its own account. And a client
whose connection broke comes back under the same client id while its old connection is still open here. So:

- A connection owns the ids that it announced and that nobody spoke for. It may renew and remove those.
- Anything for an id that another connection owns is ignored, and so is its removal. Nothing is punished.
- Except a *claim*: the very first announcement of a connection, alone in its message, at the known clock or
  above. A provider announces itself first of all, so this is how a returning client looks. Each connection
  has one.
  - For an id that nobody owns just now (its connection broke, and the grace runs) the claim is granted.
  - At the known clock it changes nothing that anybody could see. It is kept: when the owner's connection
    closes, the claimant inherits the id, and nothing is removed.
  - Above it, the same user (where users are known) gets the id at once, and another user never. Where users
    are not known, the owner is asked by a null at that clock. A connection that is dying is silent, and after
    ``presence_claim_patience_ms`` the newest connection owns the id. A live client answers with a higher
    clock.
  - Whatever the owner says above the claim's clock proves that it lives, and ends the claim. An owner that
    was too slow to answer takes its id back in the same way.
- Other nodes are trusted to have kept these rules among their own connections. What they say of an id that is
  owned here is news of a client that has moved; its removal by them is answered by asking the owner here.

Synchronous and pure: times are handed in, and what is to be sent is collected until the room flushes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from collab_server.errors import TooBigError
from collab_server.room.member import Member
from collab_server.room.settings import RoomSettings
from collab_server.wire.awareness import AwarenessEntry, encode_awareness

CLOCK_STEP_MAX = 2**32
"""An entry whose clock is further ahead than this is ignored: at 20 renewals a second it is six years' worth,
and nobody could ever speak for a client id that was sent to the end of the numbers."""


@dataclass(slots=True)
class _Claim:
    """A newer connection that says that it is this client."""

    member: Member
    clock: int
    state: str
    contested: bool = False
    """Whether it is above the known clock, so that the owner was asked."""
    due: float = 0.0
    """When a contested claim is granted."""


class _Client:
    """One client's state, and who speaks for it."""

    __slots__ = ("claim", "client", "clock", "due", "elder", "left", "owner", "queued_at", "size", "state")

    def __init__(self, client: int, clock: int, state: str) -> None:
        self.client = client
        self.clock = clock
        self.state = state
        self.size = len(state.encode())
        self.owner: Member | None = None
        """The connection that speaks for it; None if it is on another node, or if it broke."""
        self.left = False
        """Whether its connection broke, and the grace runs."""
        self.elder: Member | None = None
        """The owner before this one, which may prove that it is alive."""
        self.claim: _Claim | None = None
        self.due = 0.0
        """When it is removed unless something happens."""
        self.queued_at = 0.0
        """The time of its one valid entry in the heap."""

    @property
    def entry(self) -> AwarenessEntry:
        return AwarenessEntry(self.client, self.clock, self.state)


@dataclass(slots=True)
class PresenceFlush:
    """What presence has to say. ``entries`` go to everybody, ``private`` to one member each."""

    payload: bytes | None
    publish: bytes | None
    sole_author: Member | None
    """The member that everything in ``payload`` came from, if there is just one."""
    private: list[tuple[Member, bytes]]


class Presence:
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
        "_settings",
        "_snapshot",
        "_untold",
        "_waiting_since",
    )

    def __init__(self, settings: RoomSettings) -> None:
        self._settings = settings
        self._live: dict[int, _Client] = {}
        self._gone: dict[int, tuple[int, int]] = {}
        """Clients that have gone: their last clock and the count of changes then. Oldest first, bounded."""
        self._bytes_total = 0
        self._changes = 0
        self._flushed_changes = 0
        self._changed: dict[int, Member | None] = {}
        """Clients to tell everybody about, with the member that said so; None for several, or another
        node."""
        self._local: set[int] = set()
        """Those of them that other nodes do not know yet."""
        self._untold: set[int] = set()
        """Clients that nobody has been told of yet: if they go in the same window, nobody needs to be."""
        self._private: dict[Member, dict[int, int]] = {}
        """Nulls for one member each: client id -> clock."""
        self._waiting_since: float | None = None
        self._flushed_at = -1e9
        self._expiries: list[tuple[float, int]] = []
        self._snapshot: bytes | None = None

    # -- what members say

    def receive(self, member: Member, entries: Sequence[AwarenessEntry], now: float) -> None:
        """Take what a member says.

        Raises:
            TooBigError: The room's bound of states or of their bytes would be exceeded. What came before that
                entry in the message has been taken.
        """
        if member.invisible:
            self.hide(member, now)
            return
        alone = len(entries) == 1
        for said in entries:
            entry = said
            client = self._live.get(entry.client)
            if member.stamp is not None and _may_count(client, member):
                entry = self._stamped(member.stamp, said)
            if client is None:
                self._announce(member, entry, now)
            elif client.owner is member:
                self._hear_owner(client, member, entry, now)
            elif entry.state is not None:
                self._hear_other(client, member, entry.clock, entry.state, now, alone=alone)

    def hide(self, member: Member, now: float) -> None:
        """Show nobody that this member is here."""
        for client_id in tuple(member.owned):
            client = self._live[client_id]
            self._remove(client, client.clock, member, now, local=True)
        if member.claim is not None:
            client = self._live[member.claim]
            self._drop_claim(client)

    def _stamped(self, stamp: Callable[[str], str], entry: AwarenessEntry) -> AwarenessEntry:
        if entry.state is None:
            return entry
        state = stamp(entry.state)
        if len(state.encode()) > self._settings.awareness_state_bytes_max:
            raise TooBigError("awareness state too big")
        return AwarenessEntry(entry.client, entry.clock, state)

    def leave(self, member: Member, now: float, *, goodbye: bool) -> None:
        """A member has left. What it owned is inherited, removed (``goodbye``), or kept for the grace."""
        if member.claim is not None:
            client = self._live.get(member.claim)
            if client is not None and client.claim is not None and client.claim.member is member:
                client.claim = None
            member.claim = None
        for client_id in tuple(member.owned):
            client = self._live[client_id]
            if client.claim is not None:
                self._grant(client, now)
            elif goodbye:
                self._remove(client, client.clock, member, now, local=True)
            else:
                client.owner = None
                client.left = True
                self._set_due(client, now + self._settings.presence_grace_s)
        member.owned.clear()

    # -- what other nodes say

    def receive_remote(self, entries: Sequence[AwarenessEntry], now: float) -> None:
        """Take what another node's members said. What is over a bound is dropped: nobody here is to blame."""
        for entry in entries:
            client = self._live.get(entry.client)
            if client is None:
                if entry.state is None:
                    self._bury_deeper(entry)
                elif self._is_news(entry) and self._has_room_for(None, entry.state):
                    self._add(entry.client, entry.clock, entry.state, None, now)
            elif entry.state is None:
                self._hear_remote_removal(client, entry, now)
            elif 0 < entry.clock - client.clock <= CLOCK_STEP_MAX and self._has_room_for(client, entry.state):
                self._hear_remote_state(client, entry.clock, entry.state, now)

    def _hear_remote_state(self, client: _Client, clock: int, state: str, now: float) -> None:
        owner = client.owner
        if owner is not None:
            self._ask(owner, client.client, clock, now)
            owner.owned.discard(client.client)
            client.owner = None
            client.elder = owner
        client.left = False
        self._set_state(client, clock, state, None, now)

    def _hear_remote_removal(self, client: _Client, entry: AwarenessEntry, now: float) -> None:
        if entry.clock < client.clock or entry.clock - client.clock > CLOCK_STEP_MAX:
            return
        if client.owner is not None:
            self._ask(client.owner, client.client, entry.clock, now)
        elif client.claim is not None:
            heir = client.claim.member
            self._grant(client, now)
            self._ask(heir, client.client, entry.clock, now)
        else:
            self._remove(client, entry.clock, None, now, local=False)

    # -- what is to be sent

    def owner_of(self, client_id: int) -> Member | None:
        """The member here that speaks for a client, if one does."""
        client = self._live.get(client_id)
        return None if client is None else client.owner

    def snapshot(self) -> bytes | None:
        """Everybody who is here, as a payload; None if nobody is. Shared until something changes."""
        if not self._live:
            return None
        if self._snapshot is None:
            self._untold.clear()
            self._snapshot = encode_awareness([client.entry for client in self._live.values()])
        return self._snapshot

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
        self._expire(now)
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
        if not self._changed:
            return PresenceFlush(None, None, None, private)
        payload = encode_awareness([self._latest(client) for client in self._changed])
        publish: bytes | None = payload
        if len(self._local) < len(self._changed):
            publish = encode_awareness([self._latest(c) for c in self._local]) if self._local else None
        authors = set(self._changed.values())
        sole_author = authors.pop() if len(authors) == 1 else None
        self._changed = {}
        self._local = set()
        self._untold.clear()
        while len(self._gone) > self._settings.awareness_tombstones_max:
            self._forget_oldest()
        return PresenceFlush(payload, publish, sole_author, private)

    # -- the rules

    def _announce(self, member: Member, entry: AwarenessEntry, now: float) -> None:
        """Somebody speaks for a client that is not here."""
        if entry.state is None:
            return
        gone = self._gone.get(entry.client)
        if gone is not None and entry.clock <= gone[0]:
            # A client that was removed and is back, or an echo. The former renews itself above this null
            # at once, instead of being invisible until its next renewal; the latter knows it already.
            self._ask(member, entry.client, gone[0], now)
            return
        if not self._is_news(entry) or len(member.owned) >= self._settings.awareness_clients_per_member_max:
            return
        if not self._has_room_for(None, entry.state):
            raise TooBigError("too much awareness in this room")
        member.may_claim = False
        self._add(entry.client, entry.clock, entry.state, member, now)

    def _hear_owner(self, client: _Client, member: Member, entry: AwarenessEntry, now: float) -> None:
        ahead = entry.clock - client.clock
        if ahead < 0 or ahead > CLOCK_STEP_MAX or (ahead == 0 and entry.state is not None):
            return
        claim = client.claim
        if claim is not None:
            if entry.state is None and entry.clock < claim.clock:
                self._grant(client, now)
                return
            if entry.state is None or entry.clock > claim.clock:
                self._drop_claim(client)
        if entry.state is None:
            self._remove(client, entry.clock, member, now, local=True)
            return
        self._take(client, entry.clock, entry.state, member, now)
        if claim is not None and client.claim is claim and entry.clock == claim.clock:
            claim.contested = False  # both say the same now: nothing is left to decide
            self._requeue(client)

    def _hear_other(
        self, client: _Client, member: Member, clock: int, state: str, now: float, *, alone: bool
    ) -> None:
        """Somebody speaks for a client of another connection, or of another node, or of one that broke."""
        ahead = clock - client.clock
        if ahead > CLOCK_STEP_MAX:
            return
        if client.elder is member and ahead > 0:
            self._drop_claim(client)
            self._own(client, member)
            self._take(client, clock, state, member, now)
            return
        claim = client.claim
        if claim is not None and claim.member is member:
            if clock > claim.clock:
                self._contest(client, claim, clock, state, now)
            return
        if not (alone and member.may_claim):
            return
        if client.owner is None and client.left:
            if ahead == 0 and member.stamp is not None and state != client.state:
                return  # somebody else: what is shown there carries another's name
            member.may_claim = False
            self._own(client, member)
            if ahead > 0:
                self._take(client, clock, state, member, now)
            else:
                self._set_due(client, now + self._settings.presence_timeout_s)
            return
        if ahead < 0 or not _may_be_the_same_user(client.owner, member):
            return
        if claim is not None and ahead == 0:
            return  # an echo of what is known must not displace whoever came before it
        member.may_claim = False
        same_user = client.owner is not None and client.owner.user_id is not None
        if ahead > 0 and (client.owner is None or same_user):
            self._drop_claim(client)
            self._own(client, member)
            self._take(client, clock, state, member, now)
            return
        self._drop_claim(client)
        member.claim = client.client
        client.claim = _Claim(member, clock, state)
        if ahead > 0:
            self._contest(client, client.claim, clock, state, now)

    def _contest(self, client: _Client, claim: _Claim, clock: int, state: str, now: float) -> None:
        claim.clock = clock
        claim.state = state
        if not claim.contested:
            claim.contested = True
            claim.due = now + self._settings.presence_claim_patience_ms / 1000
            self._requeue(client)
            if client.owner is not None:
                self._ask(client.owner, client.client, clock, now)

    def _grant(self, client: _Client, now: float) -> None:
        """The claimant gets the client id, with what it said of it."""
        claim = client.claim
        if claim is None:
            return
        client.claim = None
        claim.member.claim = None
        former = client.owner
        self._own(client, claim.member)
        client.elder = former
        if claim.clock > client.clock and self._has_room_for(client, claim.state):
            self._set_state(client, claim.clock, claim.state, claim.member, now)
        else:
            self._set_due(client, now + self._settings.presence_timeout_s)

    def _drop_claim(self, client: _Client) -> None:
        if client.claim is not None:
            client.claim.member.claim = None
            client.claim = None

    def _own(self, client: _Client, member: Member) -> None:
        if client.owner is not None:
            client.owner.owned.discard(client.client)
        client.owner = member
        client.left = False
        member.owned.add(client.client)

    def _ask(self, member: Member, client_id: int, clock: int, now: float) -> None:
        """Tell one member that a client has gone: if it is that client, it answers with a higher clock."""
        self._private.setdefault(member, {})[client_id] = clock
        self._wait(now)

    # -- the states

    def _take(self, client: _Client, clock: int, state: str, member: Member, now: float) -> None:
        if not self._has_room_for(client, state):
            raise TooBigError("too much awareness in this room")
        self._set_state(client, clock, state, member, now)

    def _is_news(self, entry: AwarenessEntry) -> bool:
        gone = self._gone.get(entry.client)
        known = gone[0] if gone is not None else -1
        return known < entry.clock <= max(known, 0) + CLOCK_STEP_MAX

    def _has_room_for(self, client: _Client | None, state: str) -> bool:
        if client is None and len(self._live) >= self._settings.awareness_clients_max:
            return False
        freed = 0 if client is None else client.size
        return self._bytes_total - freed + len(state.encode()) <= self._settings.awareness_bytes_max

    def _add(self, client_id: int, clock: int, state: str, member: Member | None, now: float) -> None:
        client = _Client(client_id, clock, state)
        self._live[client_id] = client
        self._gone.pop(client_id, None)
        self._bytes_total += client.size
        if member is not None:
            self._own(client, member)
        self._set_due(client, now + self._settings.presence_timeout_s)
        if client_id not in self._changed:
            self._untold.add(client_id)
        self._mark(client_id, member, now, local=member is not None)

    def _set_state(self, client: _Client, clock: int, state: str, member: Member | None, now: float) -> None:
        client.clock = clock
        if state != client.state:
            self._bytes_total -= client.size
            client.state = state
            client.size = len(state.encode())
            self._bytes_total += client.size
        self._set_due(client, now + self._settings.presence_timeout_s)
        self._mark(client.client, member, now, local=member is not None)

    def _remove(self, client: _Client, clock: int, member: Member | None, now: float, *, local: bool) -> None:
        self._drop_claim(client)
        if client.owner is not None:
            client.owner.owned.discard(client.client)
        del self._live[client.client]
        self._bytes_total -= client.size
        self._mark(client.client, member, now, local=local)
        if client.client in self._untold:
            self._untold.discard(client.client)
            self._local.discard(client.client)
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
            self._local.add(client_id)
        self._wait(now)

    def _wait(self, now: float) -> None:
        if self._waiting_since is None:
            self._waiting_since = now

    # -- times

    def _set_due(self, client: _Client, due: float) -> None:
        client.due = due
        self._requeue(client)

    def _requeue(self, client: _Client) -> None:
        """Have the heap wake us up in time. A later time needs no new entry: the old one finds it."""
        due = _next_due(client)
        if not client.queued_at or due < client.queued_at:
            client.queued_at = due
            heappush(self._expiries, (due, client.client))

    def _expire(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            queued_at, client_id = heappop(self._expiries)
            client = self._live.get(client_id)
            if client is None or client.queued_at != queued_at:
                continue
            client.queued_at = 0.0
            if client.claim is not None and client.claim.contested and client.claim.due <= now:
                self._grant(client, now)
            if client.due <= now:
                local = client.owner is not None or client.left
                self._remove(client, client.clock, None, now, local=local)
            else:
                self._requeue(client)


def _next_due(client: _Client) -> float:
    if client.claim is not None and client.claim.contested:
        return min(client.due, client.claim.due)
    return client.due


def _may_count(client: _Client | None, member: Member) -> bool:
    """Whether what a member says of a client can change anything: most of it is an echo of others."""
    if client is None or client.owner is member or client.elder is member:
        return True
    return member.may_claim or member.claim is not None


def _may_be_the_same_user(owner: Member | None, member: Member) -> bool:
    return owner is None or owner.user_id == member.user_id
