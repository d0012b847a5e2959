"""What an open window has gathered: the edits that wait to be sent on, and whose they are."""

from __future__ import annotations

from collections.abc import Sequence

from collab_server.room.member import Member
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.inspection import Inspected, inspect
from collab_server.ydoc.update import splice_inspected

Edit = bytes | Inspected
"""An update; what was looked through need not be again."""


class Gathering:
    """The edits of one window: those for the members, and those for the journal, where the two differ."""

    __slots__ = (
        "_adopted",
        "_apart",
        "_journal",
        "_updates",
        "authors",
        "changes_before",
        "due",
        "echo",
        "received_at",
        "several",
        "sole",
    )

    def __init__(self, received_at: float, due: float, changes_before: int) -> None:
        self.received_at = received_at
        self.due = due
        self.changes_before = changes_before
        """The room's count of changes before the first edit in here."""
        self._updates: list[Edit] = []
        self._journal: list[Edit] = []
        self._adopted: list[bytes] = []
        self._apart = False
        self.authors: dict[str, None] = {}
        """The users whose edits are to be stored, in order, each once."""
        self.sole: Member | None = None
        """The member that has all of it already, unless ``several`` is set."""
        self.several = False
        self.echo: dict[Member, None] = {}
        """Members that want their own edits back, and have some in here."""

    def add(self, update: Edit | None, journal: Edit | None, holder: Member | None) -> None:
        """Add an edit: for the members, for the journal, and the member that has the update already."""
        if update is not journal:
            self._apart = True
        if journal is not None:
            self._journal.append(journal)
        if update is not None:
            if holder is None or (self._updates and holder is not self.sole):
                self.several = True
            self._updates.append(update)
            self.sole = holder

    def adopt(self, updates: list[bytes]) -> None:
        """Have edits of other nodes stored before those that are in here."""
        self._adopted += updates

    @property
    def updates_count(self) -> int:
        """How many edits there are."""
        return max(len(self._updates), len(self._journal))

    def close(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """The updates for the members, for the journal and for other nodes.

        A single edit is passed on as it came.
        """
        update = _joined(self._updates)
        own = _joined(self._journal) if self._apart else update
        if not self._adopted:
            return update, own, own
        return update, _joined(self._adopted if own is None else [*self._adopted, own]), own


def _joined(edits: Sequence[Edit]) -> bytes | None:
    if not edits:
        return None
    if len(edits) == 1:
        sole = edits[0]
        return sole.data if isinstance(sole, Inspected) else sole
    return splice_inspected([e if isinstance(e, Inspected) else inspect(e, UNBOUNDED) for e in edits])
