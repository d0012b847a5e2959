"""What members with narrowed rights may do: readers, and those who may write under some root types only.

For the latter an index of the document is kept, from when the first of them joins until the last has left. It
says where each struct lives; whose an id is, it cannot say: whoever writes chooses a client id freely. Who
took somebody else's could use up the clocks under which that one will write next. So a narrowed member may
not write under a client id that another user announces here, nor under one that has written where the member
may not, unless the same user did. Not protected is a client that is neither here nor has ever written
anywhere else; and people without a name are one user to each other.
"""

from __future__ import annotations

from collab_server.errors import RefusedError
from collab_server.room.awareness import Presence
from collab_server.room.member import Member
from collab_server.ydoc.inspection import Inspected
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.narrow import deletes_formats_only, fresh_deletions, narrow, strays
from collab_server.ydoc.roots import RootIndex

_SLICE_STRUCTS = 2_000
"""So many structs are noted in one go; a few milliseconds."""


def refuse_reader(log: DocumentLog, inspected: Inspected, *, is_answer: bool) -> None:
    """Look at what came from a member that may only read; none of it is taken.

    Deletions in an answer are not its own: of two concurrent values of a map's key Yjs deletes the loser.
    Neither are those with which Yjs tidies up the formats of a text that others have changed; these come as
    an update (yjs ``cleanupYTextAfterTransaction``).

    Raises:
        RefusedError: It brings anything else that is new.
    """
    vector = log.state_vector
    is_new = any(section.end > vector.get(section.client, 0) for section in inspected.sections)
    if not is_new and not is_answer and inspected.spans:
        fresh = fresh_deletions(log, inspected.spans)
        is_new = bool(fresh) and not deletes_formats_only(log, fresh)
    if is_new:
        raise RefusedError("this connection may only read")


class Writers:
    """Who has written under which client id, as far as it is remembered."""

    __slots__ = ("_max", "_users")

    def __init__(self, remembered_max: int) -> None:
        self._max = remembered_max
        self._users: dict[int, str | None] = {}

    def note(self, client: int, user_id: str | None) -> None:
        """Somebody has written under a client id."""
        self._users.pop(client, None)
        self._users[client] = user_id
        if len(self._users) > self._max:
            del self._users[next(iter(self._users))]

    def is_by(self, client: int, user_id: str | None) -> bool:
        """Whether this user was the last to write under a client id."""
        return client in self._users and self._users[client] == user_id


class Narrowing:
    """Decides on the edits of members that may write under some root types only."""

    def __init__(self, log: DocumentLog, presence: Presence, writers: Writers) -> None:
        self._log = log
        self._presence = presence
        self._writers = writers
        self._index = RootIndex(log)

    @property
    def is_behind(self) -> bool:
        """Whether the index lacks something of the document."""
        return self._index.is_behind

    def follow(self, edit: Inspected) -> None:
        """Note what the log has just taken in."""
        self._index.follow_edit(edit)

    def keep_up(self) -> None:
        """Bring the index further, for some milliseconds at most."""
        if self._index.is_behind:
            self._index.keep_up(_SLICE_STRUCTS)

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def permit(
        self, member: Member, roots: frozenset[str], inspected: Inspected, *, is_answer: bool
    ) -> Inspected | None:
        """What of an edit is to be taken from a member; None if nothing is.

        Raises:
            RefusedError: Some of it is not allowed, and none of it is to be taken.
        """
        if self._index.is_behind:
            self._index.keep_up()
        vector = self._log.state_vector
        for section in inspected.sections:
            if section.end > vector.get(section.client, 0) and not self._may_use(
                member, section.client, roots
            ):
                raise RefusedError("this edit is made under the client id of somebody else: sync anew")
        return narrow(self._index, self._log, inspected, roots, is_answer=is_answer)

    def _may_use(self, member: Member, client: int, roots: frozenset[str]) -> bool:
        owner = self._presence.owner_of(client)
        if owner is not None and owner is not member and owner.user_id != member.user_id:
            return False
        return self._writers.is_by(client, member.user_id) or not strays(self._index, client, roots)
