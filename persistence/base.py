"""What a store promises. Every implementation passes ``tests/contract``.

A document is known by its room's name. It is stored as at most one *snapshot* and the *update rows*
that came after it, each of them Yjs update bytes (v1) that the store never looks into.

Order: updates are sets; the rows of one room may be read in any order that respects each appender's own.
Durability: when ``append`` returns, every row of the call survives the death of the process and of the
machine.
Atomicity: each call is one transaction; a call that raises has written nothing, except that
``StoreUnavailableError`` from ``append``, ``compact`` or ``delete`` may be raised after a commit whose reply
was lost.
Repeating such a call is always safe: an update stored twice means the same as once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UpdateRow:
    """One appended update. ``id`` is unique in the store and says nothing about order of commit."""

    id: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compacted part of a document, and an opaque index that lets it be opened without a walk."""

    data: bytes
    index: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """Everything that the store holds of one live document, read at one moment."""

    room: str
    snapshot: Snapshot | None
    updates: Sequence[UpdateRow]

    @property
    def bytes_total(self) -> int:
        """The size of snapshot and updates together, in bytes."""
        return (len(self.snapshot.data) if self.snapshot else 0) + sum(len(row.data) for row in self.updates)


@dataclass(frozen=True, slots=True)
class Append:
    """One update of one room, to be appended with others in one group."""

    room: str
    data: bytes
    authors: Sequence[str] = field(default=())
    at_ms: int = 0
    """When the update was received, in milliseconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one ``Append`` of a group, in the group's order."""

    id: int
    """The new row's id; 0 when the document is deleted and nothing was written for it."""
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A line of the list of documents."""

    room: str
    bytes_total: int
    updates_count: int
    created_at_ms: int
    changed_at_ms: int


class NoticeKind(Enum):
    """What a notice tells the servers that share a store."""

    DELETED = "deleted"
    CHANGED = "changed"
    """Somebody wrote to the document past the server that hosts it (an import): read it again."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to all servers on this store, about one room."""

    id: int
    room: str
    kind: NoticeKind


class Store(Protocol):
    """Where documents are kept. All calls are safe to make from many tasks at once, from one event loop."""

    async def open(self) -> None:
        """Connect and bring the schema up to date. Raises StoreUnavailableError or SchemaError."""
        ...

    async def close(self) -> None:
        """Finish the calls under way, refuse further ones, and let go of every resource. Idempotent."""
        ...

    async def ping(self) -> None:
        """Prove that a write would work now, as far as that can be told cheaply.

        Raises StoreUnavailableError if it would not.
        """
        ...

    async def load(self, room: str) -> StoredDocument | None:
        """Read one document, as of one moment; None if there is none.

        Raises DocumentDeletedError on a tombstone.
        """
        ...

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        """Append a group of updates in one transaction, creating documents as needed; durable on return.

        A deleted document's rows are skipped and reported as ``deleted``; they never fail the others.
        """
        ...

    async def compact(self, room: str, snapshot: Snapshot, absorbed: Sequence[int]) -> bool:
        """Replace the snapshot and delete exactly the rows in ``absorbed``.

        The caller has read those rows, and the snapshot before this one, with ``load``, and absorbs every row
        that this load gave it. Rows appended meanwhile stay. Returns False, and changes nothing, when another
        compaction or a deletion came in between: a row of ``absorbed`` is no longer there; or ``absorbed`` is
        empty and there is a snapshot already, because then nothing would tell.
        """
        ...

    async def delete(self, room: str) -> bool:
        """Remove every row of a document, leave a tombstone and a DELETED notice.

        False if there was no such document.
        """
        ...

    async def restore_name(self, room: str) -> None:
        """Remove a tombstone, so that the room may be used again. No effect where there is none."""
        ...

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """The live documents by name (code point order), after the name ``after``."""
        ...

    async def notify(self, room: str, kind: NoticeKind) -> None:
        """Leave a notice for every server on this store."""
        ...

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        """The notices after the id ``after``, and the id to go on from; with None just that id.

        Whoever goes on from that id misses none. A notice is kept for an hour.
        """
        ...
