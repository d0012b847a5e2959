"""Documents in SQLite: what each call reads and writes inside a transaction of its caller.

Knows tables; knows nothing of files, threads and locks, nor of what is in a history. Who writes holds the one
write lock, so the ids that follow the last ones are nobody else's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from persistence.base import (
    Append,
    Appended,
    DocumentDump,
    DocumentInfo,
    NewRevocation,
    Notice,
    NoticeKind,
    Revocation,
    Snapshot,
    StoredDocument,
    UpdateRow,
)
from persistence.errors import DocumentDeletedError, StoreUnavailableError
from persistence.names import after_prefix
from persistence.sqlitehistory import authors_of, authors_text, last_id

FIND = "select id, deleted_at_ms from doc where name = ?"
CREATE = "insert into doc (name, created_at_ms, changed_at_ms) values (?, ?, ?)"
TOUCH = "update doc set changed_at_ms = max(changed_at_ms, ?) where id = ?"
INSERT = "insert into doc_update (id, doc_id, data, authors, created_at_ms) values (?, ?, ?, ?, ?)"
READ_SNAPSHOT = "select data, index_data from doc_snapshot where doc_id = ?"
READ_UPDATES = "select id, data, authors, created_at_ms from doc_update where doc_id = ? order by id"
ABSORB = "delete from doc_update where id = ? and doc_id = ?"
HAS_SNAPSHOT = "select count(*) from doc_snapshot where doc_id = ?"
WRITE_SNAPSHOT = """
insert or replace into doc_snapshot (doc_id, data, index_data, in_history) values (?, ?, ?, ?)
"""
DELETE_UPDATES = "delete from doc_update where doc_id = ?"
DELETE_SNAPSHOT = "delete from doc_snapshot where doc_id = ?"
BURY = "update doc set deleted_at_ms = ? where id = ?"
UNBURY = "delete from doc where name = ? and deleted_at_ms is not null"
NOTIFY = "insert into notice (room, kind, at_ms) values (?, ?, ?)"
FORGET_NOTICES = "delete from notice where at_ms < ?"
READ_NOTICES = "select id, room, kind from notice where id > ? order by id"
ADD_REVOCATION = """
insert into revocation (at_ms, until_ms, user_id, session_id, room) values (?, ?, ?, ?, ?) returning id
"""
READ_REVOCATIONS = """
select at_ms, until_ms, user_id, session_id, room, id from revocation where id > ? order by id limit ?
"""
DROP_REVOCATIONS = "delete from revocation where until_ms < ?"
# length() of a blob is told by the row's header: the content is not read.
LIST = """
select name,
       coalesce((select length(data) from doc_snapshot where doc_id = doc.id), 0)
           + coalesce((select sum(length(data)) from doc_update where doc_id = doc.id), 0),
       (select count(*) from doc_update where doc_id = doc.id),
       created_at_ms,
       changed_at_ms
from doc
where name > :after and name >= :prefix and (:past is null or name < :past) and deleted_at_ms is null
order by name
limit :limit
"""
DUMP_SIZE = """
select coalesce((select length(data) from doc_snapshot where doc_id = :doc_id), 0)
    + coalesce((select sum(length(data)) from doc_update where doc_id = :doc_id), 0)
    + coalesce((select sum(bytes_total) from doc_segment where doc_id = :doc_id), 0)
    + coalesce((select sum(bytes_total) from doc_checkpoint where doc_id = :doc_id), 0)
    + coalesce((select sum(bytes_total) from doc_version where doc_id = :doc_id), 0)
"""


class OvertakenError(Exception):
    """Another compaction or a deletion came first; undo."""


def find(connection: sqlite3.Connection, room: str) -> int | None:
    """The document's id; DocumentDeletedError on a tombstone."""
    found = connection.execute(FIND, (room,)).fetchone()
    if found is None:
        return None
    if found[1] is not None:
        raise DocumentDeletedError(room)
    return int(found[0])


def find_live(connection: sqlite3.Connection, room: str) -> int | None:
    """The document's id; None also on a tombstone."""
    found = connection.execute(FIND, (room,)).fetchone()
    return None if found is None or found[1] is not None else int(found[0])


def append(connection: sqlite3.Connection, group: Sequence[Append], now_ms: int) -> list[Appended]:
    """See the contract."""
    doc_ids: dict[str, int | None] = {}
    changed_at_ms: dict[int, int] = {}
    # The write lock is held, so nobody else takes the ids that follow.
    row_id = last_id(connection, "doc_update")
    rows: list[tuple[int, int, bytes, str, int]] = []
    results: list[Appended] = []
    for entry in group:
        at_ms = entry.at_ms or now_ms
        if entry.room not in doc_ids:
            doc_ids[entry.room] = _find_or_create(connection, entry.room, at_ms)
        doc_id = doc_ids[entry.room]
        if doc_id is None:
            results.append(Appended(0, deleted=True))
            continue
        row_id += 1
        rows.append((row_id, doc_id, bytes(entry.data), authors_text(entry.authors), at_ms))
        changed_at_ms[doc_id] = max(changed_at_ms.get(doc_id, 0), at_ms)
        results.append(Appended(row_id))
    connection.executemany(INSERT, rows)
    connection.executemany(TOUCH, [(at_ms, doc_id) for doc_id, at_ms in changed_at_ms.items()])
    return results


def _find_or_create(connection: sqlite3.Connection, room: str, at_ms: int) -> int | None:
    found = connection.execute(FIND, (room,)).fetchone()
    if found is not None:
        return None if found[1] is not None else int(found[0])
    return _create(connection, room, at_ms, at_ms)


def absorb(connection: sqlite3.Connection, room: str, row_ids: set[int]) -> int:
    """Delete exactly these rows; the document's id."""
    doc_id = find_live(connection, room)
    if doc_id is None:
        raise OvertakenError
    if row_ids:
        deleted = connection.executemany(ABSORB, [(row_id, doc_id) for row_id in row_ids]).rowcount
        if deleted != len(row_ids):
            raise OvertakenError
    elif connection.execute(HAS_SNAPSHOT, (doc_id,)).fetchone()[0]:
        # Nothing absorbed: no row tells whether another compaction came in between.
        raise OvertakenError
    return doc_id


def write_snapshot(
    connection: sqlite3.Connection, doc_id: int, snapshot: Snapshot, *, in_history: bool
) -> None:
    """Put a snapshot in the place of the one before, and say whether all of it is on the line."""
    values = (doc_id, bytes(snapshot.data), bytes(snapshot.index), in_history)
    connection.execute(WRITE_SNAPSHOT, values)


def load(connection: sqlite3.Connection, doc_id: int, room: str) -> StoredDocument:
    """Snapshot and rows."""
    row = connection.execute(READ_SNAPSHOT, (doc_id,)).fetchone()
    updates = [
        UpdateRow(row_id, data, authors_of(authors), at_ms)
        for row_id, data, authors, at_ms in connection.execute(READ_UPDATES, (doc_id,))
    ]
    return StoredDocument(room, Snapshot(*row) if row else None, updates)


def delete(connection: sqlite3.Connection, doc_id: int, now_ms: int) -> None:
    """Remove the rows of a document and leave a tombstone."""
    connection.execute(DELETE_UPDATES, (doc_id,))
    connection.execute(DELETE_SNAPSHOT, (doc_id,))
    connection.execute(BURY, (now_ms, doc_id))


def unbury(connection: sqlite3.Connection, room: str) -> None:
    """Remove a tombstone."""
    connection.execute(UNBURY, (room,))


def list_all(connection: sqlite3.Connection, after: str, prefix: str, limit: int) -> list[DocumentInfo]:
    """See the contract."""
    bounds = {"after": after, "prefix": prefix, "past": after_prefix(prefix), "limit": max(0, limit)}
    return [DocumentInfo(*row) for row in connection.execute(LIST, bounds)]


def leave_notice(
    connection: sqlite3.Connection, room: str, kind: NoticeKind, now_ms: int, keep_ms: int
) -> None:
    """Leave a notice; those that are too old are dropped on the way."""
    connection.execute(FORGET_NOTICES, (now_ms - keep_ms,))
    connection.execute(NOTIFY, (room, kind.value, now_ms))


def notices(connection: sqlite3.Connection, after: int | None) -> tuple[int, list[Notice]]:
    """See the contract."""
    if after is None:
        return last_id(connection, "notice"), []
    rows = connection.execute(READ_NOTICES, (after,)).fetchall()
    found = [Notice(notice_id, room, NoticeKind(kind)) for notice_id, room, kind in rows]
    return (found[-1].id if found else after), found


def add_revocation(connection: sqlite3.Connection, revocation: NewRevocation) -> int:
    """See the contract."""
    values = (revocation.at_ms, revocation.until_ms, revocation.user, revocation.session, revocation.room)
    (revocation_id,) = connection.execute(ADD_REVOCATION, values).fetchone()
    return int(revocation_id)


def revocations(connection: sqlite3.Connection, after: int, limit: int) -> list[Revocation]:
    """See the contract."""
    return [Revocation(*row) for row in connection.execute(READ_REVOCATIONS, (after, max(0, limit)))]


def bytes_with_history(connection: sqlite3.Connection, doc_id: int) -> int:
    """What the contents of a dump would have."""
    (bytes_total,) = connection.execute(DUMP_SIZE, {"doc_id": doc_id}).fetchone()
    return int(bytes_total)


def restore(connection: sqlite3.Connection, dump: DocumentDump) -> int | None:
    """Make the document of a dump, without its history; its id, or None where the name is taken."""
    if connection.execute(FIND, (dump.room,)).fetchone() is not None:
        return None
    doc_id = _create(connection, dump.room, dump.created_at_ms, dump.changed_at_ms)
    if dump.stored.snapshot is not None:
        write_snapshot(connection, doc_id, dump.stored.snapshot, in_history=False)
    first = last_id(connection, "doc_update") + 1
    rows = [
        (row_id, doc_id, bytes(row.data), authors_text(row.authors), row.at_ms)
        for row_id, row in enumerate(dump.stored.updates, first)
    ]
    connection.executemany(INSERT, rows)
    return doc_id


def _create(connection: sqlite3.Connection, room: str, created_at_ms: int, changed_at_ms: int) -> int:
    created = connection.execute(CREATE, (room, created_at_ms, changed_at_ms)).lastrowid
    if created is None:  # pragma: no cover - an insert always has one
        raise StoreUnavailableError("the new document got no id")
    return created
