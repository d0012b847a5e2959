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
    closes, the claimant inherits the id, and nothing is removed. Those that claim after it follow it.
  - Above it, the same user (where users are known) gets the id at once, and another user never. Where users
    are not known, the owner is asked by a null at that clock. A connection that is dying is silent, and after
    ``presence_claim_patience_ms`` the newest connection owns the id. A live client answers with a higher
    clock.
  - Whatever the owner says above the claim's clock proves that it lives, and ends the claim. An owner that
    was too slow to answer takes its id back in the same way.
- Other nodes are trusted to have kept these rules among their own connections. What they say of an id that is
  owned here is news of a client that has moved; its removal by them is answered by asking the owner here.
- Of a client that is not owned here it is known which node spoke for it last. When that node dies, the client
  is removed and the others are told so: whoever owns it now (it has moved, and its clock has not changed)
  asks it. In the same way a state of a client that is taken for gone here is answered with a null.

Synchronous and pure: times are handed in, and what is to be sent is collected until the room flushes it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from heapq import heappop

from collab_server.errors import TooBigError
from collab_server.room.member import Member
from collab_server.room.states import CLOCK_STEP_MAX, Claim, Client, PresenceFlush, States, disown
from collab_server.wire.awareness import AwarenessEntry

__all__ = ["CLOCK_STEP_MAX", "Presence", "PresenceFlush"]


class Presence(States):
    """The awareness states of one room, and who speaks for whom."""

    __slots__ = ()

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
        for client_id in member.owned:
            client = self._live[client_id]
            self._remove(client, client.clock, member, now, local=True)
        self._withdraw(member)

    def _stamped(self, stamp: Callable[[str], str], entry: AwarenessEntry) -> AwarenessEntry:
        if entry.state is None:
            return entry
        state = stamp(entry.state)
        if len(state.encode()) > self._settings.awareness_state_bytes_max:
            raise TooBigError("awareness state too big")
        return AwarenessEntry(entry.client, entry.clock, state)

    def leave(self, member: Member, now: float, *, goodbye: bool) -> None:
        """A member has left. What it owned is inherited, removed (``goodbye``), or kept for the grace."""
        self._withdraw(member)
        for client_id in member.owned:
            client = self._live[client_id]
            if client.claim is not None:
                self._grant(client, now)
            elif goodbye:
                self._remove(client, client.clock, member, now, local=True)
            else:
                client.owner = None
                client.left = True
                self._set_due(client, now + self._settings.presence_grace_s)
        member.owned = ()

    # -- what other nodes say

    def receive_remote(self, entries: Sequence[AwarenessEntry], now: float, node: Hashable = None) -> None:
        """Take what a node's members said. What is over a bound is dropped: nobody here is to blame."""
        for entry in entries:
            client = self._live.get(entry.client)
            if client is None:
                if entry.state is None:
                    self._bury_deeper(entry)
                elif not self._is_news(entry):
                    # Taken for gone here, because its node was not heard of for a while, or because this
                    # message is late. The node that has it knows.
                    self._question(entry.client, now)
                elif self._has_room_for(None, entry.state):
                    self._add(entry.client, entry.clock, entry.state, None, now)
                    self._live[entry.client].node = node
            elif entry.state is None:
                self._hear_remote_removal(client, entry, now)
            elif 0 < entry.clock - client.clock <= CLOCK_STEP_MAX and self._has_room_for(client, entry.state):
                self._hear_remote_state(client, entry.clock, entry.state, now)
                client.node = node

    def node_gone(self, node: Hashable, now: float) -> None:
        """A node has gone: its clients go with it, unless they are at another one, which is asked."""
        for client in [c for c in self._live.values() if c.node is not None and c.node == node]:
            if client.claim is not None:
                heir = client.claim.member
                self._grant(client, now)
                self._ask(heir, client.client, client.clock, now)
            else:
                self._remove(client, client.clock, None, now, local=True)

    def _hear_remote_state(self, client: Client, clock: int, state: str, now: float) -> None:
        owner = client.owner
        if owner is not None:
            self._ask(owner, client.client, clock, now)
            disown(owner, client.client)
            client.owner = None
            client.elder = owner
        client.left = False
        self._set_state(client, clock, state, None, now)

    def _hear_remote_removal(self, client: Client, entry: AwarenessEntry, now: float) -> None:
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

    def owner_of(self, client_id: int) -> Member | None:
        """The member here that speaks for a client, if one does."""
        client = self._live.get(client_id)
        return None if client is None else client.owner

    # -- times

    def flush(self, now: float) -> PresenceFlush | None:
        """Let go of who is due, and say what is to be sent, if the window allows it now."""
        self._expire(now)
        return super().flush(now)

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

    def _hear_owner(self, client: Client, member: Member, entry: AwarenessEntry, now: float) -> None:
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
        self, client: Client, member: Member, clock: int, state: str, now: float, *, alone: bool
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
        if claim is not None and member in client.heirs:
            if clock > claim.clock:
                self._overtake(client, claim, Claim(member, clock, state), now)
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
        member.may_claim = False
        if claim is not None and ahead == 0:
            # An echo of what is known must not displace whoever came before it; and this may be the newest of
            # several connections of that client.
            if len(client.heirs) < _HEIRS_MAX:
                client.heirs = (*client.heirs, member)
                member.claim = client.client
            return
        same_user = client.owner is not None and client.owner.user_id is not None
        if ahead > 0 and (client.owner is None or same_user):
            self._drop_claim(client)
            self._own(client, member)
            self._take(client, clock, state, member, now)
            return
        self._drop_claim(client)
        member.claim = client.client
        client.claim = Claim(member, clock, state)
        if ahead > 0:
            self._contest(client, client.claim, clock, state, now)

    def _contest(self, client: Client, claim: Claim, clock: int, state: str, now: float) -> None:
        claim.clock = clock
        claim.state = state
        if not claim.contested:
            claim.contested = True
            claim.due = now + self._settings.presence_claim_patience_ms / 1000
            self._requeue(client)
            if client.owner is not None:
                self._ask(client.owner, client.client, clock, now)

    def _overtake(self, client: Client, former: Claim, claim: Claim, now: float) -> None:
        """An heir says something new: it lives, and goes before the claimant."""
        client.heirs = (former.member, *(heir for heir in client.heirs if heir is not claim.member))
        client.claim = claim
        self._contest(client, claim, claim.clock, claim.state, now)

    def _grant(self, client: Client, now: float) -> None:
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
        self._move_up(client)

    def _take(self, client: Client, clock: int, state: str, member: Member, now: float) -> None:
        if not self._has_room_for(client, state):
            raise TooBigError("too much awareness in this room")
        self._set_state(client, clock, state, member, now)


_HEIRS_MAX = 4
"""Connections of one client that are remembered beside its owner and its claimant."""


def _may_count(client: Client | None, member: Member) -> bool:
    """Whether what a member says of a client can change anything: most of it is an echo of others."""
    if client is None or client.owner is member or client.elder is member:
        return True
    return member.may_claim or member.claim is not None


def _may_be_the_same_user(owner: Member | None, member: Member) -> bool:
    return owner is None or owner.user_id == member.user_id
