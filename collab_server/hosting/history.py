"""The history of documents, for those who look at it and those who go back: the HTTP API.

A *version* is a state that a document had: where a segment ends (automatic, id ``s<n>``), or one that
somebody named (``v<n>``). Whatever is heavy runs in a worker; what may be stale is read from the replica,
where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from collab_server.errors import BusyError, CloseCode, GoneError, HistoryError, HistoryFault
from collab_server.hosting.compactor import Compactor, Worker
from collab_server.hosting.journal import Journal
from collab_server.hosting.registry import Registry
from collab_server.hosting.settings import HistorySettings
from collab_server.hosting.versions import (
    Version,
    VersionPage,
    automatic_version,
    find_version,
    list_page,
    named_version,
    number_of_named,
    parts_of,
    read_parts,
    unknown_version,
)
from collab_server.views.differences import difference
from collab_server.views.restore import restore
from collab_server.ydoc.update import EMPTY, collect_all, splice
from persistence.base import DocumentInfo, SegmentInfo, Store, VersionInfo
from persistence.errors import DocumentDeletedError, DocumentMissingError, StoreError

log = structlog.get_logger(__name__)

T = TypeVar("T")

CURRENT = "current"
PREVIOUS = "previous"
START = "start"

_COMPACTION_TRIES = 3
_AUTHORS_PAGE = 1000
_AUTHORS_PAGES_MAX = 20


class History:
    """Versions of documents, open or not.

    Every call raises GoneError for a deleted document, HistoryError for what is not there, and BusyError
    while the store is away or cannot keep up.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        journal: Journal,
        compactor: Compactor,
        workers: Worker,
        patient_workers: Worker,
        settings: HistorySettings,
        *,
        replica: Store | None = None,
        wall_clock_ms: Callable[[], int],
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._readers = (store,) if replica is None else (replica, store)
        self._registry = registry
        self._journal = journal
        self._compactor = compactor
        self._workers = workers
        self._patient_workers = patient_workers
        self._settings = settings
        self._wall_clock_ms = wall_clock_ms
        self._random = random

    # -- looking

    async def versions(self, room: str, cursor: str | None = None, limit: int = 50) -> VersionPage:
        """The versions, newest first. Edits of this moment are in the newest one of the first page."""
        with _store_trouble():
            if await self._find_document(room, refresh=cursor is None) is None:
                return VersionPage((), None)
            return await list_page(self._store, room, cursor, limit)

    async def version(self, room: str, version_id: str) -> Version:
        """One line of the list."""
        with _store_trouble():
            await self._need_document(room)
            return await self._find(room, version_id)

    async def read_version(self, room: str, version_id: str) -> tuple[Version, bytes]:
        """A version, and the whole document as it was then, as one update."""
        with _store_trouble():
            await self._need_document(room)
            version = await self._find(room, version_id)
            return version, await self._read(room, version)

    async def read_at(self, room: str, at_ms: int) -> bytes:
        """The document as it was at a time: at the end of the last segment that ended by then."""
        with _store_trouble():
            await self._need_document(room, refresh=True)
            return await self._read_at(room, at_ms)

    async def difference(self, room: str, since: str = PREVIOUS, to: str = CURRENT) -> dict[str, Any]:
        """What differs between two versions, as ``views.differences`` says it.

        ``since`` is an id, ``start`` (the empty document), ``current``, or ``previous``: for an automatic
        version the automatic one before it; for a named version the named one before it, or the empty
        document. ``to`` is an id or ``current``, which is the newest automatic version.
        """
        with _store_trouble():
            await self._need_document(room, refresh=CURRENT in (since, to))
            new_version = await self._newest(room) if to == CURRENT else await self._find(room, to)
            new = await self._read(room, new_version) if new_version else EMPTY
            if since == PREVIOUS:
                old_version, old = await self._read_previous(room, new_version)
            elif since == START:
                old_version, old = None, EMPTY
            elif since == CURRENT:
                old_version = await self._newest(room)
                old = await self._read(room, old_version) if old_version else EMPTY
            else:
                old_version = await self._find(room, since)
                old = await self._read(room, old_version)
            authors = await self._authors_between(room, old_version, new_version)
        found: dict[str, Any] = await self._workers.run(difference, old, new, authors)
        return {
            "since": old_version.id if old_version else START,
            "to": new_version.id if new_version else START,
            **found,
        }

    async def refresh(self, room: str) -> None:
        """Put every edit that this node has received by now into the history."""
        with _store_trouble():
            await self._need_document(room, refresh=True)

    # -- naming

    async def create_version(self, room: str, name: str, *, pinned: bool, author: str | None) -> Version:
        """Name the document as it is now."""
        if not pinned and self._settings.retention_days == 0:
            raise HistoryError(
                HistoryFault.NO_HISTORY, "this server keeps no history: only a pinned version would stay"
            )
        with _store_trouble():
            await self._need_document(room, refresh=True)
            most = self._settings.versions_max
            if (await self._store.history_size(room)).versions_count >= most:
                raise HistoryError(
                    HistoryFault.TOO_MANY, f"the document has {most} named versions; delete some first"
                )
            stored = await self._store.load(room)
            if stored is None:
                raise _unknown_document(room)
            at_ms = self._wall_clock_ms()
            if stored.snapshot is not None and not stored.updates:
                data = stored.snapshot.data
            else:
                parts = [stored.snapshot.data] if stored.snapshot is not None else []
                parts += [row.data for row in stored.updates]
                data = await self._put_together(collect_all, parts)
            number = await self._store.add_version(room, name, author, at_ms, data, pinned)
        return named_version(VersionInfo(number, name, at_ms, author, pinned, len(data)))

    async def change_version(
        self, room: str, version_id: str, *, name: str | None = None, pinned: bool | None = None
    ) -> Version:
        """Rename a named version, or say whether retention may take it. None leaves a thing as it is."""
        with _store_trouble():
            await self._need_document(room)
            number = number_of_named(version_id)
            if pinned is not None and not await self._store.set_pinned(room, number, pinned):
                raise unknown_version(version_id)
            if name is not None and not await self._store.rename_version(room, number, name):
                raise unknown_version(version_id)
            return await self._find(room, version_id)

    async def delete_version(self, room: str, version_id: str) -> None:
        """Drop a named version. The edits of that time stay in the automatic ones."""
        with _store_trouble():
            await self._need_document(room)
            if not await self._store.delete_version(room, number_of_named(version_id)):
                raise unknown_version(version_id)

    # -- going back

    async def restore(
        self, room: str, *, version_id: str | None = None, at_ms: int | None = None, author: str | None = None
    ) -> bool:
        """Give the document the content that it had, by an edit like anybody's; False if it has it already.

        Its members see it at once; on return it is committed. What is written at the same time stays. The
        state of before is a version of its own, so that another restore undoes this one.
        """
        with _store_trouble():
            await self._need_document(room, refresh=True)
            if version_id is not None:
                target = await self._read(room, await self._find(room, version_id))
            else:
                assert at_ms is not None  # noqa: S101 - one of the two is given
                target = await self._read_at(room, at_ms)
        async with self._registry.opened(room) as host:
            live = host.encode()
            client = self._new_client(host.room.log.state_vector)
            update = await self._patient_workers.run(restore, live, target, client)
            if update is None or not host.edit(update, author):
                return False
            log.info("restored", room=room, version=version_id, at_ms=at_ms, bytes=len(update))
            await self._settle("the restore was made, but the store has not confirmed it yet")
            if host.ended:
                await self._need_document(room)
                raise BusyError("the room was closed meanwhile; look whether the restore is there")
        return True

    # -- inside: the document

    async def _need_document(self, room: str, *, refresh: bool = False) -> DocumentInfo:
        found = await self._find_document(room, refresh=refresh)
        if found is None:
            raise _unknown_document(room)
        return found

    async def _find_document(self, room: str, *, refresh: bool) -> DocumentInfo | None:
        """The document's line; None for a room that is open and has nothing stored yet.

        With ``refresh`` every edit that this node has received by now is in the history on return.
        """
        host = self._registry.get(room)
        if refresh:
            if host is not None:
                host.flush()
            await self._settle("the store is away")
        found = await self._store.list_documents(prefix=room, limit=1)
        if not found or found[0].room != room:
            try:
                await self._store.load(room)
            except DocumentDeletedError as error:
                raise GoneError("the document was deleted") from error
            if host is None or host.ended:
                raise _unknown_document(room)
            return None
        if refresh and found[0].updates_count:
            if host is not None:
                host.compaction_requested()
            for _ in range(_COMPACTION_TRIES):
                if await self._compactor.compact(room):
                    break
        return found[0]

    async def _settle(self, otherwise: str) -> None:
        try:
            async with asyncio.timeout(self._settings.settle_timeout_s):
                await self._journal.settle()
        except TimeoutError as error:
            raise BusyError(otherwise, CloseCode.STORE_UNAVAILABLE) from error

    def _new_client(self, vector: dict[int, int]) -> int:
        client = 1 + int(self._random() * 0xFFFF_FFFE)
        while client in vector:
            client = client % 0xFFFF_FFFF + 1
        return client

    # -- inside: versions

    async def _find(self, room: str, version_id: str) -> Version:
        found = await find_version(self._store, room, version_id)
        if found is None:
            raise unknown_version(version_id)
        return found

    async def _newest(self, room: str) -> Version | None:
        segments = await self._store.list_segments(room, limit=1)
        return automatic_version(segments[0]) if segments else None

    async def _read(self, room: str, version: Version) -> bytes:
        async def read(store: Store) -> bytes | None:
            if store is not self._store and await find_version(store, room, version.id) is None:
                return None  # the replica has not got so far
            parts = await read_parts(store, room, version)
            return None if parts is None else await self._united(parts)

        found = await self._from_a_reader(read)
        if found is None:
            raise unknown_version(version.id)
        return found

    async def _read_at(self, room: str, at_ms: int) -> bytes:
        part = await self._store.read_history(room, at_ms=at_ms)
        if part is None:
            raise HistoryError(
                HistoryFault.BEFORE_HISTORY, "the history that is kept of this document begins later"
            )
        return await self._united(parts_of(part))

    async def _read_previous(self, room: str, version: Version | None) -> tuple[Version | None, bytes]:
        if version is None:
            return None, EMPTY
        if version.is_named:
            earlier = await self._store.list_versions(room, before=version.number, limit=1)
            before = named_version(earlier[0]) if earlier else None
            return before, await self._read(room, before) if before else EMPTY
        segments = await self._store.list_segments(room, before=version.number, limit=1)
        if segments:
            before = automatic_version(segments[0])
            return before, await self._read(room, before)
        part = await self._store.read_history(room, segment=version.number)
        if part is None:
            raise unknown_version(version.id)
        if not part.segments:
            raise HistoryError(
                HistoryFault.BEFORE_HISTORY, f"{version.id} is where the history of this document begins"
            )
        return None, await self._united(parts_of(part)[:-1])

    async def _authors_between(self, room: str, old: Version | None, new: Version | None) -> list[str]:
        """Who edited in that stretch, as far as a bounded number of segments says."""
        if new is None:
            return []
        if old is not None and old.at_ms > new.at_ms:
            old, new = new, old
        authors: dict[str, None] = {}
        before = None if new.is_named else new.number + 1
        for _ in range(_AUTHORS_PAGES_MAX):
            page = await self._store.list_segments(room, before=before, limit=_AUTHORS_PAGE)
            for segment in page:
                if old is not None and _is_at_or_before(segment, old):
                    return list(authors)
                if segment.to_ms <= new.at_ms:
                    authors.update(dict.fromkeys(segment.authors))
            if len(page) < _AUTHORS_PAGE:
                break
            before = page[-1].id
        return list(authors)

    # -- inside: bytes

    async def _united(self, parts: list[bytes]) -> bytes:
        return await self._put_together(splice, parts) if parts else EMPTY

    async def _put_together(self, function: Callable[[Sequence[bytes]], bytes], parts: list[bytes]) -> bytes:
        if function is splice and len(parts) == 1:
            return parts[0]
        if sum(len(part) for part in parts) < self._settings.fold_in_worker_bytes:
            return function(parts)
        united: bytes = await self._workers.run(function, parts)
        return united

    async def _from_a_reader(self, read: Callable[[Store], Awaitable[T | None]]) -> T | None:
        """What the replica has; the store itself where it is away or has not got so far."""
        for store in self._readers[:-1]:
            try:
                found = await read(store)
            except StoreError as error:
                log.debug("the replica cannot be read", error=str(error))
                continue
            if found is not None:
                return found
        return await read(self._store)


def _is_at_or_before(segment: SegmentInfo, version: Version) -> bool:
    return segment.to_ms <= version.at_ms if version.is_named else segment.id <= version.number


def _unknown_document(room: str) -> HistoryError:
    return HistoryError(HistoryFault.UNKNOWN_DOCUMENT, f"there is no document {room!r}")


@contextmanager
def _store_trouble() -> Iterator[None]:
    try:
        yield
    except DocumentDeletedError as error:
        raise GoneError("the document was deleted") from error
    except DocumentMissingError as error:
        raise _unknown_document(error.room) from error
    except StoreError as error:
        raise BusyError(f"the store is away: {error}", CloseCode.STORE_UNAVAILABLE) from error
