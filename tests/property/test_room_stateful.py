"""A room under whatever its members do: write, lag, leave, come back, repeat themselves, skip, and lie.

The members are pycrdt documents with the habits of y-websocket: they answer our step 1, repeat the awareness
that they hear, and speak up when somebody declares them gone. Whatever happened, after quiet all replicas are
equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from pycrdt import Array, Doc, Map, Text

from collab_server.errors import PeerError, RefusedError
from collab_server.room.flush import Flush
from collab_server.room.member import Member
from collab_server.room.room import Room
from collab_server.room.settings import RoomSettings
from collab_server.wire.awareness import AwarenessBounds, AwarenessEntry, decode_awareness, encode_awareness
from collab_server.wire.sync import PLAIN
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.statevector import decode_state_vector

FORGED = '"forged"'


class Replica:
    """A document with the three shared types, and the update of its last edit."""

    def __init__(self, client_id: int) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text = self.doc.get("text", type=Text)
        self.list = self.doc.get("list", type=Array)
        self.map = self.doc.get("map", type=Map)
        self._made = b""
        self._watching = self.doc.observe(self._note)

    def _note(self, event: Any) -> None:
        self._made = event.update

    def edit(self, choice: int, where: int) -> bytes:
        length = len(str(self.text))
        with self.doc.transaction():
            if choice == 0:
                self.text.insert(where % (length + 1), "ab")
            elif choice == 1 and length:
                del self.text[where % length]
            elif choice == 2:
                self.list.append(Map({"n": where}))
            elif choice == 3 and len(self.list):
                del self.list[where % len(self.list)]
            elif choice == 4 and len(self.map):
                del self.map[next(iter(self.map.keys()))]
            else:
                self.map[f"k{where % 3}"] = where
        return self._made

    @property
    def content(self) -> tuple[str, Any, Any, dict[int, int]]:
        vector = decode_state_vector(self.doc.get_state())
        return str(self.text), self.list.to_py(), self.map.to_py(), vector


class Client(Replica):
    """A client of the room, connected or not."""

    def __init__(self, client_id: int, *, can_write: bool, wants_echo: bool, shows_itself: bool) -> None:
        super().__init__(client_id)
        self.client_id = client_id
        self.can_write = can_write
        self.wants_echo = wants_echo
        self.member: Member | None = None
        self.greeted_with: bytes | None = None
        self.withheld: list[bytes] = []
        self.sent: list[bytes] = []
        self.known = IdSet()
        self.known_deletes = IdSet()
        self.clocks: dict[int, int] = {}
        self.states: dict[int, str] = {}
        if shows_itself:
            self.clocks[client_id] = 0
            self.states[client_id] = f'"{client_id}"'

    def wrote(self, update: bytes) -> None:
        """Note its own structs as known. Deletions are not: somebody else can delete the same meanwhile."""
        for section in inspect(update).sections:
            self.known.add(section.client, section.clock, section.end)

    def news_in(self, update: bytes) -> bool:
        """Whether an update holds anything that this client did not make or get; then it has got it."""
        inspected = inspect(update)
        news = False
        for section in inspected.sections:
            if not self.known.covers(section.client, section.clock, section.end):
                news = True
                self.known.add(section.client, section.clock, section.end)
        spans = inspected.spans
        for at in range(0, len(spans), 3):
            if not self.known_deletes.covers(spans[at], spans[at + 1], spans[at + 2]):
                news = True
                self.known_deletes.add(spans[at], spans[at + 1], spans[at + 2])
        return news

    def hear_awareness(self, payload: bytes) -> bytes | None:
        """What y-protocols does, and the provider's echo of every change."""
        changed = []
        for entry in decode_awareness(payload, AwarenessBounds()):
            clock = self.clocks.get(entry.client, 0)
            present = entry.client in self.states
            if not (clock < entry.clock or (clock == entry.clock and entry.state is None and present)):
                continue
            self.clocks[entry.client] = entry.clock
            if entry.state is not None:
                self.states[entry.client] = entry.state
            elif entry.client == self.client_id and present:
                self.clocks[entry.client] += 1
            else:
                self.states.pop(entry.client, None)
            changed.append(entry.client)
        if not changed:
            return None
        return encode_awareness([AwarenessEntry(c, self.clocks[c], self.states.get(c)) for c in changed])

    def own_awareness(self) -> bytes | None:
        if self.client_id not in self.states:
            return None
        entry = AwarenessEntry(self.client_id, self.clocks[self.client_id], self.states[self.client_id])
        return encode_awareness([entry])


class RoomMachine(RuleBasedStateMachine):
    clients = Bundle("clients")

    @initialize(
        window_max_ms=st.sampled_from([0.0, 5.0, 20.0, 500.0]),
        hot=st.booleans(),
        join_patience_ms=st.sampled_from([0.0, 1000.0]),
        tail_bytes_max=st.sampled_from([60, 256 * 1024]),
    )
    def open(self, window_max_ms: float, hot: bool, join_patience_ms: float, tail_bytes_max: int) -> None:
        self.bounds = Bounds(pending_bytes_max=4000)
        self.settings = RoomSettings(
            flush_window_max_ms=window_max_ms,
            flush_quiet_deliveries_per_s=0 if hot else 500,
            flush_full_deliveries_per_s=1 if hot else 8000,
            join_patience_ms=join_patience_ms,
            tail_bytes_max=tail_bytes_max,
            awareness_clients_max=12,
            members_max=12,
            bounds=self.bounds,
        )
        self.room = Room("any", DocumentLog(self.bounds), self.settings)
        self.now = 1000.0
        self.everybody: list[Client] = []
        self.ghosts: list[Member] = []
        self.connected: dict[Member, Client] = {}
        self.slow: set[Client] = set()
        self.elsewhere = Replica(9000)
        self.store = Replica(9001)
        self.scratch_id = 9100

    # -- what clients do

    @rule(
        target=clients,
        can_write=st.integers(0, 4).map(bool),
        echo=st.booleans(),
        shows=st.integers(0, 4).map(bool),
    )
    def arrive(self, can_write: bool, echo: bool, shows: bool) -> Client:
        client = Client(len(self.everybody) + 1, can_write=can_write, wants_echo=echo, shows_itself=shows)
        if len(self.everybody) < 6:
            self.everybody.append(client)
            self._join(client, prompt=True)
            return client
        return self.everybody[-1]

    @rule(client=clients, prompt=st.booleans())
    def join(self, client: Client, prompt: bool) -> None:
        if client.member is None:
            self._join(client, prompt=prompt)

    @rule(client=clients)
    def shake_hands(self, client: Client) -> None:
        self._shake_hands(client)

    @rule(client=clients, choice=st.integers(0, 5), where=st.integers(0, 99), how=st.sampled_from("ssw"))
    def edit(self, client: Client, choice: int, where: int, how: str) -> None:
        if not client.can_write:
            return
        update = client.edit(choice, where)
        client.wrote(update)
        if how == "w":
            client.withheld.append(update)
        else:
            self._send(client, update)

    @rule(client=clients, backwards=st.booleans())
    def send_what_was_withheld(self, client: Client, backwards: bool) -> None:
        withheld, client.withheld = client.withheld, []
        for update in reversed(withheld) if backwards else withheld:
            self._send(client, update)

    @rule(client=clients, which=st.integers(0, 99))
    def repeat_itself(self, client: Client, which: int) -> None:
        if client.sent:
            self._send(client, client.sent[which % len(client.sent)])

    @rule(client=clients, goodbye=st.booleans())
    def leave(self, client: Client, goodbye: bool) -> None:
        if client.member is not None:
            self._leave(client, goodbye=goodbye)

    @rule(client=clients)
    def come_back_before_the_old_connection_dies(self, client: Client) -> None:
        if client.member is None or len(self.ghosts) > 2:
            return
        self.ghosts.append(client.member)
        self._forget_connection(client)
        self._join(client, prompt=True)

    @rule(goodbye=st.booleans())
    def let_an_old_connection_die(self, goodbye: bool) -> None:
        if not self.ghosts:
            return
        ghost = self.ghosts.pop(0)
        back = {
            c.client_id for c in self.everybody if c.client_id == ghost.id and c.member and c.own_awareness()
        }
        shown = back & self._shown().keys()
        self.room.leave(ghost, self.now, goodbye=goodbye)
        assert shown <= self._shown().keys()

    @rule(client=clients)
    def stop_reading(self, client: Client) -> None:
        if client.member is not None and client not in self.slow:
            self.slow.add(client)
            self.room.mark_slow(client.member)

    @rule(client=clients, flush_first=st.booleans())
    def read_again(self, client: Client, flush_first: bool) -> None:
        self._read_again(client, flush_first=flush_first)

    @rule(client=clients)
    def show_itself(self, client: Client) -> None:
        self._renew(client)

    # -- lies

    @rule(client=clients, data=st.binary(min_size=1, max_size=40), kind=st.sampled_from("uva"))
    def send_nonsense(self, client: Client, data: bytes, kind: str) -> None:
        if client.member is None or client in self.slow:
            return
        before = self.room.log.encode()
        receive: dict[str, Callable[[], object]] = {
            "u": lambda: self._must_fail(client, data),
            "v": lambda: self.room.receive_step1(self._of(client), b"\x05" + data[:3], self.now),
            "a": lambda: self.room.receive_awareness(self._of(client), b"\x7f" + data, self.now),
        }
        with pytest.raises(PeerError):
            receive[kind]()
        assert self.room.log.encode() == before
        self._leave(client, goodbye=False)

    @rule(client=clients, where=st.integers(0, 99))
    def write_without_the_right(self, client: Client, where: int) -> None:
        if client.can_write or client.member is None:
            return
        self.scratch_id += 1
        forged = Replica(self.scratch_id)
        forged.doc.apply_update(self.room.log.encode())
        before = self.room.log.encode(), self.room.log.pending_bytes
        with pytest.raises(RefusedError):
            self.room.receive_update(client.member, forged.edit(0, where), self.now, is_answer=False)
        assert (self.room.log.encode(), self.room.log.pending_bytes) == before
        self._leave(client, goodbye=False)

    @rule(liar=clients, victim=clients, ahead=st.integers(0, 3), gone=st.booleans())
    def speak_for_somebody_else(self, liar: Client, victim: Client, ahead: int, gone: bool) -> None:
        if liar is victim or liar.member is None or victim.member is None:
            return
        if not gone and liar.client_id not in liar.states:
            return  # a stranger that has not said who it is might be the victim, come back
        if victim.client_id not in self._shown():
            return
        entry = AwarenessEntry(
            victim.client_id, victim.clocks[victim.client_id] + ahead, None if gone else FORGED
        )
        self.room.receive_awareness(liar.member, encode_awareness([entry]), self.now)
        assert victim.client_id in self._shown()

    # -- what others do

    @rule(choice=st.integers(0, 5), where=st.integers(0, 99))
    def edit_elsewhere(self, choice: int, where: int) -> None:
        update = self.elsewhere.edit(choice, where)
        self.store.doc.apply_update(update)
        self.room.receive_remote(update, self.now)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.001, 0.02, 0.6, 1.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self._wait(seconds)

    @rule()
    def force_a_flush(self) -> None:
        self._carry_out(self.room.flush(self.now, force=True))

    # -- what must always hold

    @invariant()
    def budgets_hold(self) -> None:
        if not hasattr(self, "room"):
            return
        assert self.room.members_count == len(self.connected) + len(self.ghosts)
        assert self.room.log.pending_bytes <= self.bounds.pending_bytes_max
        assert len(self._shown()) <= self.settings.awareness_clients_max
        assert FORGED not in self._shown().values()

    @rule()
    def calm_down(self) -> None:
        """Everybody comes back, reads and says what it has: then all are equal."""
        while self.ghosts:
            self.room.leave(self.ghosts.pop(), self.now, goodbye=False)
        for client in self.everybody:
            if client.member is None:
                self._join(client, prompt=True)
            self._read_again(client, flush_first=True)
            self._shake_hands(client)
            self.send_what_was_withheld(client, backwards=False)
        for _ in range(6):
            self._wait(10)
            for client in self.everybody:
                self._renew(client)
        self._wait(1)
        assert not self.room.has_edits_waiting
        assert self.room.log.tail_bytes <= self.settings.tail_bytes_max
        truth = Replica(9999)
        truth.doc.apply_update(self.room.log.encode())
        for replica in (*self.everybody, self.elsewhere, self.store):
            assert replica.content == truth.content
        shown = {
            client.client_id: f'"{client.client_id}"' for client in self.everybody if client.own_awareness()
        }
        assert self._shown() == shown
        for client in self.everybody:
            assert client.states == shown

    def teardown(self) -> None:
        if hasattr(self, "room"):
            self.calm_down()

    # -- the wires between

    def _of(self, client: Client) -> Member:
        assert client.member is not None
        return client.member

    def _must_fail(self, client: Client, data: bytes) -> None:
        self.room.receive_update(self._of(client), b"\x7f" + data + b"\xff", self.now)

    def _shown(self) -> dict[int, str | None]:
        payload = self.room.query_awareness()
        return (
            {}
            if payload is None
            else {e.client: e.state for e in decode_awareness(payload, AwarenessBounds())}
        )

    def _join(self, client: Client, *, prompt: bool) -> None:
        member = Member(client.client_id, PLAIN, can_write=client.can_write, wants_echo=client.wants_echo)
        self.room.join(member, self.now)
        client.member = member
        self.connected[member] = client
        own = client.own_awareness()
        if own is not None:
            self.room.receive_awareness(member, own, self.now)
        client.greeted_with, awareness = self.room.greeting(member)
        if prompt:
            self._shake_hands(client)
        if awareness is not None:
            self._tell(client, awareness)

    def _shake_hands(self, client: Client) -> None:
        if client.member is None or client.greeted_with is None or client in self.slow:
            return
        answer = self.room.receive_step1(client.member, client.doc.get_state(), self.now)
        self._deliver_difference(client, answer)
        greeted_with, client.greeted_with = client.greeted_with, None
        self.room.receive_update(client.member, client.doc.get_update(greeted_with), self.now)

    def _forget_connection(self, client: Client) -> None:
        self.connected.pop(self._of(client))
        self.slow.discard(client)
        client.member = None
        client.greeted_with = None
        client.withheld.clear()
        client.states = {c: state for c, state in client.states.items() if c == client.client_id}

    def _leave(self, client: Client, *, goodbye: bool) -> None:
        self.room.leave(self._of(client), self.now, goodbye=goodbye)
        self._forget_connection(client)

    def _send(self, client: Client, update: bytes) -> None:
        if client.member is not None:
            client.sent.append(update)
            self.room.receive_update(client.member, update, self.now, is_answer=False)

    def _read_again(self, client: Client, *, flush_first: bool) -> None:
        if client not in self.slow:
            return
        if flush_first:
            self._carry_out(self.room.flush(self.now, force=True))
        self.slow.discard(client)
        update, awareness = self.room.resume(self._of(client), self.now)
        if update is not None:
            self._deliver_difference(client, update)
        if awareness is not None:
            self._tell(client, awareness)

    def _renew(self, client: Client) -> None:
        if client.client_id in client.states:
            client.clocks[client.client_id] += 1
            own = client.own_awareness()
            if client.member is not None and own is not None:
                self.room.receive_awareness(client.member, own, self.now)

    def _tell(self, client: Client, payload: bytes) -> None:
        echo = client.hear_awareness(payload)
        if echo is not None and client.member is not None:
            self.room.receive_awareness(client.member, echo, self.now)

    def _deliver(self, client: Client, update: bytes) -> bool:
        client.doc.apply_update(update)
        return client.news_in(update)

    def _deliver_difference(self, client: Client, update: bytes) -> None:
        """A difference carries all deletions, and of structs only what is new, cut where one begins."""
        for section in inspect(update).sections:
            known = client.known.covers(section.client, section.clock, section.end)
            assert client.wants_echo or not known, "known already"
        self._deliver(client, update)

    def _wait(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.room.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self._carry_out(self.room.flush(self.now))
        self.now = end

    def _carry_out(self, flush: Flush) -> None:
        if flush.journal is not None:
            self.store.doc.apply_update(flush.journal)
        if flush.publish is not None:
            self.elsewhere.doc.apply_update(flush.publish)
        if flush.update is not None:
            for member in flush.recipients:
                if member in self.connected:
                    assert self._deliver(self.connected[member], flush.update), "nothing new in it"
            for member in flush.echo:
                if member in self.connected:
                    self._deliver(self.connected[member], flush.update)
        for member, difference in flush.late:
            if member in self.connected:
                self._deliver_difference(self.connected[member], difference)
        for member, payload in flush.awareness_private:
            if member in self.connected:
                self._tell(self.connected[member], payload)
        if flush.awareness is not None:
            for member in flush.awareness_recipients:
                if member in self.connected:
                    self._tell(self.connected[member], flush.awareness)


RoomMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestARoomUnderWhateverItsMembersDo = RoomMachine.TestCase
