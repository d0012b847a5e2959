"""The history of documents in PostgreSQL: the calls of the store contract that are about it, and their SQL.

Knows tables and places on the line; knows nothing of connections, pools and errors of the network, which
``PostgresStore`` adds. What is long goes in several statements, so that each keeps its time limit.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from persistence.base import (
    DumpedCheckpoint,
    DumpedSegment,
    DumpedVersion,
    HistoryPart,
    HistorySize,
    NewCheckpoint,
    NewSegment,
    SegmentInfo,
    VersionInfo,
)
from persistence.errors import DocumentDeletedError, DocumentMissingError
from persistence.names import with_nul, without_nul

T = TypeVar("T")

STEP_BYTES = 16 << 20
STEP_ROWS = 1_000
"""What one statement reads or writes of a history; a single content may be larger."""
ID_MAX = (1 << 63) - 1

COMPACTION_LOCKS = 0x2B19_0000_0000_0000
"""Keys of advisory locks, plus the document's id. A random high half, so that they meet nobody else's."""
LOCK = "select pg_advisory_xact_lock($1)"
FIND = "select id, deleted_at_ms from doc where name = $1"
FIND_LIVE = "select id from doc where name = $1 and deleted_at_ms is null"
FIND_TO_COMPACT = "select id from doc where name = $1 and deleted_at_ms is null for no key update"
FIND_TO_ADD = "select id, deleted_at_ms from doc where name = $1 for key share"

INSERT_SEGMENTS = """
insert into doc_segment (doc_id, from_ms, to_ms, updates_count, bytes_total, authors, data)
select $1, * from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bytea[])
returning id
"""
# A place of its own, without the right to the sequence itself.
DRAW_PLACE = """
insert into doc_segment (doc_id, from_ms, to_ms, updates_count, bytes_total, authors, data)
values ($1, 0, 0, 0, 0, '[]', '') returning id
"""
GIVE_ROW_BACK = "delete from doc_segment where doc_id = $1 and id = $2"
INSERT_CHECKPOINT = """
insert into doc_checkpoint (id, doc_id, at_ms, bytes_total, data) values ($1, $2, $3, $4, $5)
on conflict (doc_id, id) do update
set at_ms = excluded.at_ms, bytes_total = excluded.bytes_total, data = excluded.data
"""
HAS_SNAPSHOT_ASIDE = "select exists (select from doc_snapshot where doc_id = $1 and not in_history)"
# The snapshot that a compaction is about to replace, if it holds what is not on the line.
KEEP_SNAPSHOT = """
insert into doc_checkpoint (id, doc_id, at_ms, bytes_total, data)
select $2, doc_id, $3, octet_length(data), data from doc_snapshot where doc_id = $1
"""
LIST_SEGMENTS = """
select id, from_ms, to_ms, authors, updates_count, bytes_total
from doc_segment where doc_id = $1 and id < $2 order by id desc limit $3
"""
# Places on the line.
PLACE_OF = """
select id from doc_segment where doc_id = $1 and id = $2
union select id from doc_checkpoint where doc_id = $1 and id = $2
"""
LAST_PLACE = """
select greatest((select max(id) from doc_segment where doc_id = $1),
                (select max(id) from doc_checkpoint where doc_id = $1))
"""
PLACE_AT = """
select greatest((select max(id) from doc_segment where doc_id = $1 and to_ms <= $2),
                (select max(id) from doc_checkpoint as c where doc_id = $1 and at_ms <= $2
                    and not exists (select from doc_segment where doc_id = $1 and id = c.id)))
"""
READ_CHECKPOINT = """
select id, data from doc_checkpoint where doc_id = $1 and id <= $2 order by id desc limit 1
"""
SIZES_BETWEEN = """
select id, bytes_total from doc_segment where doc_id = $1 and id > $2 and id <= $3 order by id
"""
READ_SEGMENTS = "select data from doc_segment where doc_id = $1 and id = any($2::bigint[]) order by id"
# Sums of bigints are numerics.
SIZE = """
select s.number, s.bytes::bigint,
       (select coalesce(sum(bytes_total), 0)::bigint from doc_segment
        where doc_id = $1 and id > coalesce(c.last, 0)),
       c.number, c.bytes::bigint, v.number, v.bytes::bigint
from (select count(*) as number, coalesce(sum(bytes_total), 0) as bytes
      from doc_segment where doc_id = $1) as s,
     (select count(*) as number, coalesce(sum(bytes_total), 0) as bytes, max(id) as last
      from doc_checkpoint where doc_id = $1) as c,
     (select count(*) as number, coalesce(sum(bytes_total), 0) as bytes
      from doc_version where doc_id = $1) as v
"""
EXPIRED = """
select name from doc
where name > $3 and id in (
    select doc_id from doc_segment where to_ms < $1
    union select doc_id from doc_version where not pinned and at_ms < $1
)
order by name limit $2
"""
HAS_SEGMENT = "select exists (select from doc_segment where doc_id = $1 and id = $2)"
TRIM = """
with gone as (
    delete from {table} where doc_id = $1 and id in (
        select id from {table} where doc_id = $1 and id <= $2 order by id limit {rows}
    ) returning id
)
select count(*) from gone
"""
TRIM_SEGMENTS = TRIM.format(table="doc_segment", rows=STEP_ROWS)
TRIM_CHECKPOINTS = TRIM.format(table="doc_checkpoint", rows=20)
FORGET_VERSIONS = TRIM.format(table="doc_version", rows=20)
TRIM_VERSIONS = """
with gone as (
    delete from doc_version where doc_id = $1 and not pinned and id in (
        select id from doc_version where doc_id = $1 and not pinned and at_ms < $2 limit 20
    ) returning id
)
select count(*) from gone
"""

INSERT_VERSION = """
insert into doc_version (doc_id, name, author, at_ms, pinned, bytes_total, data)
values ($1, $2, $3, $4, $5, $6, $7) returning id
"""
LIST_VERSIONS = """
select id, name, at_ms, author, pinned, bytes_total
from doc_version where doc_id = $1 and id < $2 order by id desc limit $3
"""
READ_VERSION = "select data from doc_version where doc_id = $1 and id = $2"
PIN_VERSION = "update doc_version set pinned = $3 where doc_id = $1 and id = $2 returning id"
RENAME_VERSION = "update doc_version set name = $3 where doc_id = $1 and id = $2 returning id"
DELETE_VERSION = "delete from doc_version where doc_id = $1 and id = $2 returning id"

BYTES_OF_HISTORY = """
select (coalesce((select sum(bytes_total) from doc_segment where doc_id = $1), 0)
      + coalesce((select sum(bytes_total) from doc_checkpoint where doc_id = $1), 0)
      + coalesce((select sum(bytes_total) from doc_version where doc_id = $1), 0))::bigint
"""
SIZES_OF_SEGMENTS = "select id, bytes_total from doc_segment where doc_id = $1 order by id"
SIZES_OF_CHECKPOINTS = "select id, bytes_total from doc_checkpoint where doc_id = $1 order by id"
SIZES_OF_VERSIONS = "select id, bytes_total from doc_version where doc_id = $1 order by id"
DUMP_SEGMENTS = """
select id, data, from_ms, to_ms, authors, updates_count
from doc_segment where doc_id = $1 and id = any($2::bigint[]) order by id
"""
DUMP_CHECKPOINTS = (
    "select id, data, at_ms from doc_checkpoint where doc_id = $1 and id = any($2::bigint[]) order by id"
)
DUMP_VERSIONS = """
select name, at_ms, author, pinned, data
from doc_version where doc_id = $1 and id = any($2::bigint[]) order by id
"""


class PostgresHistory(ABC):
    """The part of the store contract that is about the history."""

    @abstractmethod
    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do ``work`` in a transaction that sees one moment."""

    @abstractmethod
    async def _write(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do ``work`` in a transaction that is durable on return."""

    async def list_segments(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[SegmentInfo]:
        """See the contract."""
        bounds = (ID_MAX if before is None else before, max(0, limit))

        async def read(connection: Any, doc_id: int) -> list[SegmentInfo]:
            rows = await connection.fetch(LIST_SEGMENTS, doc_id, *bounds)
            return [
                SegmentInfo(place, from_ms, to_ms, authors_of(authors), count, bytes_total)
                for place, from_ms, to_ms, authors, count, bytes_total in rows
            ]

        return await self._read_live(room, read, [])

    async def read_history(
        self, room: str, *, segment: int | None = None, at_ms: int | None = None
    ) -> HistoryPart | None:
        """See the contract."""
        if segment is not None and at_ms is not None:
            raise ValueError("a segment or a time, not both")

        async def read(connection: Any, doc_id: int) -> HistoryPart | None:
            if segment is not None:
                place = await connection.fetchval(PLACE_OF, doc_id, segment)
            elif at_ms is not None:
                place = await connection.fetchval(PLACE_AT, doc_id, at_ms)
            else:
                place = await connection.fetchval(LAST_PLACE, doc_id)
            if place is None:
                return None
            start, data = await connection.fetchrow(READ_CHECKPOINT, doc_id, place) or (0, None)
            sizes = await connection.fetch(SIZES_BETWEEN, doc_id, start, place)
            rows = await _fetch_in_steps(connection, READ_SEGMENTS, doc_id, sizes)
            return HistoryPart(data, [row[0] for row in rows])

        return await self._read_live(room, read, None)

    async def history_size(self, room: str) -> HistorySize:
        """See the contract."""

        async def read(connection: Any, doc_id: int) -> HistorySize:
            return HistorySize(*await connection.fetchrow(SIZE, doc_id))

        return await self._read_live(room, read, HistorySize())

    async def expired(self, before_ms: int, limit: int, *, after: str = "") -> Sequence[str]:
        """See the contract."""
        bounds = (before_ms, max(0, limit), without_nul(after))

        async def read(connection: Any) -> list[str]:
            return [with_nul(row[0]) for row in await connection.fetch(EXPIRED, *bounds)]

        return await self._read(read)

    async def trim(
        self,
        room: str,
        *,
        before_ms: int,
        upto_segment: int | None = None,
        base: NewCheckpoint | None = None,
    ) -> bool:
        """See the contract."""
        if (upto_segment is None) != (base is None):
            raise ValueError("a segment and the base in its place, or neither")
        name = without_nul(room)

        async def write(connection: Any) -> bool:
            doc_id = await lock_to_compact(connection, name)
            if doc_id is None:
                return False
            if upto_segment is not None and base is not None:
                if not await connection.fetchval(HAS_SEGMENT, doc_id, upto_segment):
                    return False
                await _delete_in_steps(connection, TRIM_SEGMENTS, doc_id, upto_segment)
                await _delete_in_steps(connection, TRIM_CHECKPOINTS, doc_id, upto_segment)
                await _insert_checkpoint(connection, doc_id, upto_segment, base)
            await _delete_in_steps(connection, TRIM_VERSIONS, doc_id, before_ms)
            return True

        return await self._write(write)

    async def add_version(
        self, room: str, name: str, author: str | None, at_ms: int, data: bytes, pinned: bool
    ) -> int:
        """See the contract."""
        room_name = without_nul(room)
        version = _version_values(DumpedVersion(name, at_ms, author, pinned, data))

        async def write(connection: Any) -> int:
            found = await connection.fetchrow(FIND_TO_ADD, room_name)
            if found is None:
                raise DocumentMissingError(room)
            if found[1] is not None:
                raise DocumentDeletedError(room)
            version_id: int = await connection.fetchval(INSERT_VERSION, found[0], *version)
            return version_id

        return await self._write(write)

    async def list_versions(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[VersionInfo]:
        """See the contract."""
        bounds = (ID_MAX if before is None else before, max(0, limit))

        async def read(connection: Any, doc_id: int) -> list[VersionInfo]:
            return [
                VersionInfo(version, with_nul(name), at_ms, _author(author), pinned, bytes_total)
                for version, name, at_ms, author, pinned, bytes_total in await connection.fetch(
                    LIST_VERSIONS, doc_id, *bounds
                )
            ]

        return await self._read_live(room, read, [])

    async def read_version(self, room: str, version: int) -> bytes | None:
        """See the contract."""

        async def read(connection: Any, doc_id: int) -> bytes | None:
            data: bytes | None = await connection.fetchval(READ_VERSION, doc_id, version)
            return data

        return await self._read_live(room, read, None)

    async def set_pinned(self, room: str, version: int, pinned: bool) -> bool:
        """See the contract."""
        return await self._change_version(room, PIN_VERSION, version, bool(pinned))

    async def rename_version(self, room: str, version: int, name: str) -> bool:
        """See the contract."""
        return await self._change_version(room, RENAME_VERSION, version, without_nul(name))

    async def delete_version(self, room: str, version: int) -> bool:
        """See the contract."""
        return await self._change_version(room, DELETE_VERSION, version)

    async def _change_version(self, room: str, statement: str, *values: object) -> bool:
        name = without_nul(room)

        async def write(connection: Any) -> bool:
            doc_id = await connection.fetchval(FIND_LIVE, name)
            return doc_id is not None and await connection.fetchval(statement, doc_id, *values) is not None

        return await self._write(write)

    async def _read_live(self, room: str, call: Callable[[Any, int], Awaitable[T]], missing: T) -> T:
        name = without_nul(room)

        async def read(connection: Any) -> T:
            doc_id = await connection.fetchval(FIND_LIVE, name)
            return missing if doc_id is None else await call(connection, doc_id)

        return await self._read(read)


def authors_text(authors: Sequence[str]) -> str:
    """How authors are stored."""
    return json.dumps(list(authors)) if authors else "[]"


def authors_of(text: str) -> tuple[str, ...]:
    """What ``authors_text`` stored."""
    return () if text == "[]" else tuple(json.loads(text))


async def lock_to_compact(connection: Any, name: str) -> int | None:
    """Keep every other compaction and trim of a live document out until the commit; its id."""
    doc_id: int | None = await connection.fetchval(FIND_LIVE, name)
    if doc_id is None:
        return None
    await connection.execute(LOCK, COMPACTION_LOCKS + doc_id)
    # Again, now under the lock: it may have been deleted, and its name used by another document.
    return doc_id if await connection.fetchval(FIND_TO_COMPACT, name) == doc_id else None


async def add(
    connection: Any, doc_id: int, segments: Sequence[NewSegment], checkpoint: NewCheckpoint | None
) -> None:
    """Put what a compaction gives at the end of the line. The snapshot must not be replaced yet."""
    if segments and await connection.fetchval(HAS_SNAPSHOT_ASIDE, doc_id):
        place = await _draw_place(connection, doc_id)
        await connection.execute(KEEP_SNAPSHOT, doc_id, place, segments[0].from_ms)
    last = await _insert_segments(connection, doc_id, segments)
    if checkpoint is not None:
        place = await _draw_place(connection, doc_id) if last is None else last
        await _insert_checkpoint(connection, doc_id, place, checkpoint)


async def forget(connection: Any, doc_id: int) -> None:
    """Remove all of a document's history."""
    for statement in (TRIM_SEGMENTS, TRIM_CHECKPOINTS, FORGET_VERSIONS):
        await _delete_in_steps(connection, statement, doc_id, ID_MAX)


async def read_all(
    connection: Any, doc_id: int
) -> tuple[list[DumpedSegment], list[DumpedCheckpoint], list[DumpedVersion]]:
    """The whole history, as it stands in a dump."""
    sizes = await connection.fetch(SIZES_OF_SEGMENTS, doc_id)
    places = [row[0] for row in sizes]
    segments = [
        DumpedSegment(data, from_ms, to_ms, authors_of(authors), count)
        for _, data, from_ms, to_ms, authors, count in await _fetch_in_steps(
            connection, DUMP_SEGMENTS, doc_id, sizes
        )
    ]
    sizes = await connection.fetch(SIZES_OF_CHECKPOINTS, doc_id)
    checkpoints = [
        DumpedCheckpoint(data, at_ms, bisect_right(places, place))
        for place, data, at_ms in await _fetch_in_steps(connection, DUMP_CHECKPOINTS, doc_id, sizes)
    ]
    sizes = await connection.fetch(SIZES_OF_VERSIONS, doc_id)
    versions = [
        DumpedVersion(with_nul(name), at_ms, _author(author), pinned, data)
        for name, at_ms, author, pinned, data in await _fetch_in_steps(
            connection, DUMP_VERSIONS, doc_id, sizes
        )
    ]
    return segments, checkpoints, versions


async def write_all(
    connection: Any,
    doc_id: int,
    line: Iterator[DumpedSegment | DumpedCheckpoint],
    versions: Sequence[DumpedVersion],
) -> None:
    """Write the history of a dump."""
    waiting: list[DumpedSegment] = []
    for entry in line:
        if isinstance(entry, DumpedSegment):
            waiting.append(entry)
            continue
        await _insert_segments(connection, doc_id, waiting)
        waiting = []
        await _insert_checkpoint(connection, doc_id, await _draw_place(connection, doc_id), entry)
    await _insert_segments(connection, doc_id, waiting)
    for version in versions:
        await connection.fetchval(INSERT_VERSION, doc_id, *_version_values(version))


def in_steps(sizes: Sequence[int]) -> Iterator[slice]:
    """Cut a sequence of contents so that none of the parts is too much for one statement."""
    start = bytes_total = 0
    for at, size in enumerate(sizes):
        if at > start and (bytes_total + size > STEP_BYTES or at - start >= STEP_ROWS):
            yield slice(start, at)
            start, bytes_total = at, 0
        bytes_total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


async def _fetch_in_steps(connection: Any, statement: str, doc_id: int, sizes: Sequence[Any]) -> list[Any]:
    """The rows whose ids and sizes are given."""
    rows: list[Any] = []
    for part in in_steps([row[1] for row in sizes]):
        rows += await connection.fetch(statement, doc_id, [row[0] for row in sizes[part]])
    return rows


async def _delete_in_steps(connection: Any, statement: str, *values: object) -> None:
    while await connection.fetchval(statement, *values):
        pass


async def _insert_segments(
    connection: Any, doc_id: int, segments: Sequence[NewSegment | DumpedSegment]
) -> int | None:
    """Write segments at the end of the line; the place of the last one."""
    place: int | None = None
    for part in in_steps([len(new.data) for new in segments]):
        some = segments[part]
        rows = await connection.fetch(
            INSERT_SEGMENTS,
            doc_id,
            [new.from_ms for new in some],
            [new.to_ms for new in some],
            [new.updates_count for new in some],
            [len(new.data) for new in some],
            [authors_text(new.authors) for new in some],
            [bytes(new.data) for new in some],
        )
        # Ids are drawn in the order of the arrays.
        place = rows[-1][0]
    return place


async def _draw_place(connection: Any, doc_id: int) -> int:
    place: int = await connection.fetchval(DRAW_PLACE, doc_id)
    await connection.execute(GIVE_ROW_BACK, doc_id, place)
    return place


async def _insert_checkpoint(
    connection: Any, doc_id: int, place: int, new: NewCheckpoint | DumpedCheckpoint
) -> None:
    data = bytes(new.data)
    await connection.execute(INSERT_CHECKPOINT, place, doc_id, new.at_ms, len(data), data)


def _version_values(version: DumpedVersion) -> tuple[object, ...]:
    data = bytes(version.data)
    author = None if version.author is None else without_nul(version.author)
    return without_nul(version.name), author, version.at_ms, bool(version.pinned), len(data), data


def _author(stored: str | None) -> str | None:
    return None if stored is None else with_nul(stored)
