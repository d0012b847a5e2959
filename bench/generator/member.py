"""One simulated person: a replica in a room, its connection, and what it does when something is due."""

from __future__ import annotations

import json
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from bench.generator import dialects
from bench.generator.edits import Edit, Typist
from bench.generator.ledger import (
    NOT_TIMED,
    Author,
    Cursor,
    Knowledge,
    Parsed,
    RoomBooks,
    read_state_vector,
    sent_so_far,
)
from bench.generator.replay import Part
from bench.generator.websocket import HANDSHAKE_FAILED, WebSocketClient, client_frame
from collab_server.errors import CollabError
from collab_server.wire.lib0 import encode_var_string, encode_var_uint

if TYPE_CHECKING:
    from bench.generator.load import Load

_UNREADABLE: Final = (CollabError, IndexError, ValueError)
_HISTORY_MAX: Final = 10_000
_DELETES_MAX: Final = 200
_COLORS: Final = ("#30bced", "#6eeb83", "#ffbc42", "#ecd444", "#ee6352")


class Connection(WebSocketClient):
    """The socket of a member, for as long as it lasts."""

    __slots__ = ("_fragments", "member")

    def __init__(self, member: Member, keep_bytes_max: int) -> None:
        super().__init__(keep_bytes_max)
        self.member: Member | None = member
        self._fragments: list[bytes] | None = None

    def request_target(self) -> tuple[str, str]:
        """Where the member's room is."""
        assert self.member is not None  # noqa: S101
        return self.member.request_target()

    def on_open(self) -> None:
        """Tell the member."""
        if self.member is not None:
            self.member.opened()

    def on_message(self, message: bytes) -> None:
        """Give it to the member."""
        if self.member is not None:
            self.member.received(message)

    def on_large(self, size: int) -> None:
        """Too large to be kept."""
        if self.member is not None:
            self.member.received_large()

    def on_fragment(self, first: int, payload: bytes) -> None:
        """Join fragments; a text is no message of ours."""
        if first & 0x0F == 2:
            self._fragments = [payload]
        elif first & 0x0F == 0 and self._fragments is not None:
            self._fragments.append(payload)
            if first & 0x80:
                self.on_message(b"".join(self._fragments))
                self._fragments = None

    def on_closed(self, code: int) -> None:
        """Tell the member, unless it has let go of this connection."""
        member, self.member = self.member, None
        if member is not None:
            member.tally.bytes_received += self.bytes_received
            member.lost_connection(code)


class Member:
    """A person. It outlives its connections."""

    __slots__ = (
        "_come_due", "_deletes", "_dice", "_has_come", "_history", "_is_first", "_is_introduced", "_is_timed",
        "_leave_mark", "_opened_at", "_part", "_state_text", "_unsent", "author", "client", "connection",
        "cursor", "is_away", "is_present", "is_synced", "knowledge", "load", "number", "rank",
        "received_updates", "room", "tally", "typist",
    )  # fmt: skip

    def __init__(self, load: Load, room: RoomBooks, number: int, rank: int, client: int) -> None:
        self.load = load
        self.tally = load.tally
        self.room = room
        self.number = number
        """Its place in the room."""
        self.rank = rank
        """Its place among all clients of the run."""
        self.client = client
        self.connection: Connection | None = None
        self.is_present = False
        """Whether it is to be connected now, by the plan."""
        self.is_away = False
        """Whether its connection was cut, by the plan, and is to come back."""
        self.is_synced = False
        self.author: Author | None = None
        self.typist: Typist | None = None
        self.cursor: Cursor | None = None
        self.knowledge: Knowledge | None = None
        self.received_updates: list[bytes] | None = [] if room.is_checked else None
        self._part: Part | None = None
        self._history: deque[tuple[int, bytes]] | None = None
        """Own messages with the clock after each, to be sent again to a server that lacks them."""
        self._deletes: deque[bytes] | None = None
        """Own messages that only delete; of them a state vector does not speak, so the last are repeated."""
        self._unsent: list[bytes] = []
        self._is_introduced = False
        self._come_due = 0.0
        self._opened_at = 0.0
        self._is_first = True
        self._is_timed = True
        """Whether what it writes has a latency: not while it is away by plan."""
        self._has_come = False
        self._leave_mark: tuple[list[int], int] | None = None
        self._state_text = ""
        self._dice = random.Random(f"{load.seed}-{rank}")  # noqa: S311 - a schedule, not a secret

    def writes(self, root: str, part: Part | None) -> None:
        """It is a writer: of its own text, or of a part of a recorded session."""
        if part is not None:
            self._part = part
            self.client = part.client
        else:
            self.typist = Typist(self.client, root, self._dice)
        self.author = self.room.add_author(self.client)
        self._history = deque(maxlen=_HISTORY_MAX)
        self._deletes = deque(maxlen=_DELETES_MAX)

    # -- its connection

    def request_target(self) -> tuple[str, str]:
        """Host header and target."""
        host, port, path = self.load.address(self)
        return f"{host}:{port}", self.room.dialect.target(path, self.load.query)

    def come(self, due_s: float) -> None:
        """Connect; it was due then."""
        if self.is_present or self.load.is_over:
            return
        self.is_present = True
        self._has_come = True
        self.is_away = False
        self._leave_mark = None
        self._come_due = self.load.start + due_s
        if self.load.leaving.pop(self, None) is None or self.connection is None:
            self.load.connect(self)

    def come_back(self, _due_s: float) -> None:
        """Connect again after a cut."""
        if self.is_away and not self.load.is_over:
            self.is_away = False
            self.load.connect(self)

    def leave(self, _due_s: float) -> None:
        """Stop writing, and go as soon as all that was sent so far is there."""
        if not self.is_present:
            return
        self.is_present = False
        self._leave_mark = sent_so_far(self.room)
        self.load.leaving[self] = time.monotonic() + self.load.scenario.settle_s

    def try_to_leave(self, *, must: bool) -> bool:
        """Go, if all is there that is waited for, or if it ``must``; what is missing then is lost."""
        lacking = self.lacks(self._leave_mark)
        if self.is_synced and lacking and not must:
            return False
        self.load.lost += lacking
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.member = None
            self.tally.bytes_received += connection.bytes_received
            self.load.connected -= connection.is_open
            connection.close()
        self.is_synced = self._is_introduced = False
        return True

    def cut(self, pause_s: float, due_s: float) -> None:
        """Lose the connection, and come back after a pause."""
        if not self.is_present or self.is_away or self.connection is None:
            return
        connection, self.connection = self.connection, None
        connection.member = None
        self.tally.bytes_received += connection.bytes_received
        if connection.is_open:
            self.load.connected -= 1
        connection.cut()
        self.is_synced = self._is_introduced = False
        self.is_away = True
        self._is_timed = False
        self._come_due = self.load.start + due_s + pause_s
        self.load.pacer.once(due_s + pause_s, self.come_back)

    def opened(self) -> None:
        """The socket is open: introduce ourselves."""
        now = time.monotonic()
        self._opened_at = now
        tally = self.tally
        tally.time("connect", now - self._come_due)
        tally.connections_opened += 1
        self.load.connected += 1
        if self.knowledge is None:
            self.knowledge = Knowledge(self.room, self.author)
        if self.room.dialect.greets:
            self._send(self.room.dialect.hello())
            return
        self._introduce()

    def _introduce(self) -> None:
        dialect = self.room.dialect
        self._is_introduced = True
        unsent, self._unsent = self._unsent, []
        if self.cursor is not None:
            self._announce(NOT_TIMED)
        if dialect.has_server_document:
            self._send(dialect.step1(self._state_vector()))
        else:
            assert self.knowledge is not None  # noqa: S101
            if self.received_updates is not None:
                self.received_updates = [update for _, update in self.room.written]
            self.knowledge.skip()
            self._synced()
            for update in unsent:
                self._send(dialect.update(update))

    def _state_vector(self) -> bytes:
        assert self.knowledge is not None  # noqa: S101
        entries = self.knowledge.state_vector()
        if self.author is not None and self.author.ends:
            entries.append((self.author.client, self.author.ends[-1]))
        encoded = (encode_var_uint(client) + encode_var_uint(clock) for client, clock in entries)
        return encode_var_uint(len(entries)) + b"".join(encoded)

    def _synced(self) -> None:
        if self.is_synced:
            return
        self.is_synced = True
        self._is_timed = True
        now = time.monotonic()
        self.tally.time("join" if self._is_first else "reconnect", now - self._come_due)
        self.tally.reconnects += not self._is_first
        self._is_first = False

    def lost_connection(self, code: int) -> None:
        """The connection is gone, and not by the plan: that is a failure, and people come back."""
        self.connection = None
        was_open = code != HANDSHAKE_FAILED
        self.load.connected -= was_open
        self.is_synced = self._is_introduced = False
        if self.load.is_over:
            return
        if was_open:
            self.tally.connections_dropped += 1
            self.tally.complain(f"the server closed a connection with {code}")
            self._come_due = time.monotonic()
        else:
            self.tally.connections_failed += 1
            self.tally.complain("the server did not take a connection")
        self._come_again()

    def failed_to_connect(self, error: OSError) -> None:
        """No connection at all."""
        self.tally.connections_failed += 1
        self.tally.complain(f"cannot connect: {error.strerror or error}")
        self._come_again()

    def _come_again(self) -> None:
        if self.is_present and not self.load.is_over:
            self.is_away = True
            now_s = time.monotonic() - self.load.start
            self.load.pacer.once(now_s + self._dice.uniform(0.5, 1.5), self.come_back)

    # -- what comes

    def received(self, frame: bytes) -> None:
        """A frame from the server."""
        tally = self.tally
        tally.frames_received += 1
        now = time.monotonic()
        room = self.room
        try:
            kind, payload = room.dialect.read(frame)
            if kind in {dialects.UPDATE, dialects.STEP_2}:
                self._received_update(room.parse(payload), now, is_answer=kind == dialects.STEP_2)
            elif kind == dialects.AWARENESS:
                if room.cursors and self.knowledge is not None:
                    entries = room.parse_awareness(payload)
                    self.knowledge.receive_awareness(entries, now, self._opened_at, tally, self.cursor)
            elif kind == dialects.STEP_1:
                self._answer(payload)
            elif kind == dialects.WELCOME:
                self._introduce()
            elif kind == dialects.REFUSED:
                tally.complain("the server refused the room")
        except _UNREADABLE as error:
            tally.complain(f"a frame that cannot be read: {type(error).__name__}: {error}")

    def _received_update(self, parsed: Parsed, now: float, *, is_answer: bool) -> None:
        assert self.knowledge is not None  # noqa: S101
        self.knowledge.receive(parsed, now, self._opened_at, self.tally, is_answer=is_answer)
        if self.received_updates is not None:
            self.received_updates.append(parsed.data)
        if is_answer:
            self._synced()

    def received_large(self) -> None:
        """A frame that is not kept; the only ones of this size are whole documents."""
        self.tally.frames_received += 1
        assert self.knowledge is not None  # noqa: S101
        self.knowledge.is_blind = True
        self.received_updates = None
        self.knowledge.skip()
        self._synced()

    def _answer(self, state_vector: bytes) -> None:
        """The server asks what we have: nothing but our own, and only what it does not know."""
        dialect = self.room.dialect
        self._send(dialect.step2(dialects.EMPTY_UPDATE))
        if self.author is None or not self._history:
            return
        known = dict(read_state_vector(state_vector)).get(self.author.client, 0)
        for end, update in self._history:
            if end > known:
                self._send(dialect.update(update))
        for update in self._deletes or ():
            self._send(dialect.update(update))

    # -- what is due

    def edit(self, due_s: float) -> None:
        """Write something."""
        typist = self.typist
        edits = self.load.scenario.edits
        if typist is None or edits is None or not self.is_present:
            return
        edit: Edit | None = None
        if edits.deletes and self._dice.random() < edits.deletes:
            edit = typist.backspace()
        self._wrote(edit or typist.insert(edits.chars), due_s)

    def paste(self, due_s: float) -> None:
        """Write much at once."""
        pastes = self.load.scenario.pastes
        if self.typist is not None and pastes is not None and self.is_present:
            self._wrote(self.typist.insert(pastes.bytes), due_s)

    def play(self, due_s: float) -> None:
        """The next message of a recorded session. Those after it build on it, so none is left out."""
        if self._has_come and not self.is_present:
            self._part = None
        if self._part is not None and (edit := self._part.next()) is not None:
            self._wrote(edit, due_s)

    def _wrote(self, edit: Edit, due_s: float) -> None:
        author = self.author
        assert author is not None and self._history is not None and self._deletes is not None  # noqa: S101, PT018
        load = self.load
        self.tally.sent += 1
        due = load.start + due_s if self._is_timed else NOT_TIMED
        stage = load.stage_at(due_s)
        by_stage = self.tally.sent_by_stage
        by_stage[stage] = by_stage.get(stage, 0) + 1
        if edit.deleted is not None:
            self.room.deleted(author, edit.update, edit.deleted, due, stage)
            self._deletes.append(edit.update)
        else:
            self.room.wrote(author, edit.update, edit.end, due, stage)
            self._history.append((edit.end, edit.update))
        if self._is_introduced:
            self._send(self.room.dialect.update(edit.update))
        else:
            self._unsent.append(edit.update)

    def move_cursor(self, due_s: float) -> None:
        """Say where the cursor is now."""
        if self.is_synced and self.is_present:
            self._announce(self.load.start + due_s, self.load.stage_at(due_s))

    def renew(self, _due_s: float) -> None:
        """Say that we are still here."""
        if self.is_synced and self.cursor is not None:
            self._announce(NOT_TIMED)

    def _announce(self, due: float, stage: int = 0) -> None:
        cursor = self.cursor
        assert cursor is not None  # noqa: S101
        cursor.dues.append(due)
        cursor.stages.append(stage)
        if not self._state_text:
            user = {"id": f"user-{self.rank}", "name": f"Person {self.rank}", "color": _COLORS[self.rank % 5]}
            text = json.dumps(
                {"user": {**user, "avatar_url": ""}, "status": "editing"}, separators=(",", ":")
            )
            self._state_text = text[:-1]
        clock = len(cursor.dues)
        state = (
            f'{self._state_text},"cursor":{{"section":"notes","index":0,"field":"text","offset":{clock}}}}}'
        )
        payload = b"".join(
            (b"\x01", encode_var_uint(cursor.client), encode_var_uint(clock), encode_var_string(state))
        )
        if due != NOT_TIMED:
            self.tally.awareness_sent += 1
        self._send(self.room.dialect.awareness(payload))

    def _send(self, payload: bytes) -> None:
        if self.connection is not None:
            self.tally.frames_sent += 1
            self.tally.bytes_sent += self.connection.send_frame(client_frame(payload))

    # -- what is still to come

    def own_updates(self) -> list[bytes]:
        """What it wrote, in a room that is compared."""
        if self.author is None:
            return []
        return [update for slot, update in self.room.written if slot == self.author.slot]

    def lacks(self, mark: tuple[list[int], int] | None = None) -> int:
        """Messages of others that it has not got; of all, or of those before ``mark``."""
        if self.knowledge is None:
            if not self.room.authors:
                return 0
            self.knowledge = Knowledge(self.room, self.author)
        return self.knowledge.lacks(mark)
