"""Messages for members that no document keeps ("stateless"), to whoever is in a room at that moment.

Nothing is kept for anybody: who is not there, or whose socket is full just then, misses the message. Only the
multiplexed dialect has them. Within one node each member gets them in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from collab_server.errors import MalformedError
from collab_server.gateway.sessions import Session, Sessions
from collab_server.telemetry.metrics import Metrics
from collab_server.wire.frame import Frame
from collab_server.wire.lib0 import encode_var_string, encode_var_uint, read_var_string, read_var_uint


class Audience(IntEnum):
    """For whom in the room. The numbers are on the wire between nodes: never reuse one."""

    ROOM = 0
    USER = 1
    SESSION = 2


@dataclass(frozen=True, slots=True)
class Letter:
    """One message, and for whom it is."""

    payload: str
    audience: Audience = Audience.ROOM
    name: str = ""
    """The user's id, or the session's."""

    def encode(self) -> bytes:
        """For the other nodes: ``varUint(audience), varString(name), varString(payload)``."""
        return encode_var_uint(self.audience) + encode_var_string(self.name) + encode_var_string(self.payload)

    @classmethod
    def decode(cls, data: bytes) -> Letter:
        """Read what another node encoded. Raises MalformedError."""
        audience, at = read_var_uint(data, 0)
        if audience not in _AUDIENCES:
            raise MalformedError("a message for an unknown audience")
        name, at = read_var_string(data, at)
        payload, _ = read_var_string(data, at)
        return cls(payload, Audience(audience), name)


class Courier:
    """Brings letters to the sessions of a room, on this node and, through ``publish``, on the others."""

    def __init__(
        self, sessions: Sessions, metrics: Metrics, publish: Callable[[str, bytes], None] | None = None
    ) -> None:
        """``publish`` tells the other nodes of a letter for a room, which they give to ``receive``."""
        self.publish = publish
        self._sessions = sessions
        self._metrics = metrics

    def post(self, room: str, letter: Letter, *, sender: Session | None = None) -> int:
        """Bring a letter to everybody whom it is for, but its sender; how many got it on this node."""
        reached = self._deliver(room, letter, sender)
        if self.publish is not None:
            self.publish(room, letter.encode())
        return reached

    def announce(
        self, room: str, payload: str, *, user: str | None = None, session: str | None = None
    ) -> int:
        """Bring a message of the server's own to a room, or to one user or session in it; as ``post``."""
        if user is not None:
            return self.post(room, Letter(payload, Audience.USER, user))
        if session is not None:
            return self.post(room, Letter(payload, Audience.SESSION, session))
        return self.post(room, Letter(payload))

    def receive(self, room: str, data: bytes) -> None:
        """Bring a letter from another node. Raises MalformedError."""
        self._deliver(room, Letter.decode(data), None)

    def _deliver(self, room: str, letter: Letter, sender: Session | None) -> int:
        frames: dict[object, Frame | None] = {}
        reached = missed = 0
        for session in self._readers(room, letter):
            if session is sender or not session.has_joined:
                continue
            framing = session.member.framing
            key = framing.key
            if key not in frames:
                frames[key] = framing.stateless(letter.payload)
            frame = frames[key]
            if frame is None:
                continue
            if session.send_letter(frame):
                reached += 1
            else:
                missed += 1
        if missed:
            self._metrics.stateless_missed.inc(missed)
        return reached

    def _readers(self, room: str, letter: Letter) -> list[Session]:
        sessions = self._sessions
        match letter.audience:
            case Audience.USER:
                return [session for session in sessions.of_user(letter.name) if session.room == room]
            case Audience.SESSION:
                return [session for session in sessions.of_session(letter.name) if session.room == room]
            case _:
                return sessions.of_room(room)


_AUDIENCES = frozenset(Audience)
