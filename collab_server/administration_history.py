"""What ``collab-server migrate`` and the history part of ``collab-server doc`` do: works on the store itself.

Also while servers use it: they hear of a restore or a new document through a notice. Nothing here prints.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from collab_server import parts
from collab_server.administration import (
    AdministrationError,
    existing,
    import_update,
    opened_store,
    whole,
)
from collab_server.config import Settings
from collab_server.errors import HistoryError
from collab_server.hosting.archive import Refusal, looked_through, write_archive
from collab_server.hosting.compactor import past_of, store_folded
from collab_server.hosting.folding import fold
from collab_server.hosting.versions import Version, find_version, list_page, read_parts, unknown_version
from collab_server.views.documents import document_state_vector
from collab_server.views.pool import ViewPool
from collab_server.views.restore import restore
from collab_server.ydoc.statevector import decode_state_vector
from collab_server.ydoc.update import EMPTY, splice
from persistence.base import DocumentDump, Store
from persistence.errors import DocumentDeletedError, DumpTooLargeError

PAGE = 1000
_TRIES = 3


async def migrate(settings: Settings) -> tuple[int, int]:
    """Bring the store's schema up to date; its versions before and after."""
    async with opened_store(settings, create=True) as store:
        return store.migrated or (store.schema_version, store.schema_version)


async def list_versions(store: Store, room: str, settings: Settings) -> AsyncIterator[Version]:
    """The versions of a document, newest first, with all that is stored of it by now."""
    await compact(store, room, settings)
    cursor: str | None = None
    while True:
        page = await list_page(store, room, cursor, PAGE)
        for version in page.versions:
            yield version
        cursor = page.next
        if cursor is None:
            return


async def compact(store: Store, room: str, settings: Settings) -> None:
    """Make versions of what is stored of a document and is in none yet."""
    for _ in range(_TRIES):
        stored = await existing(store, room)
        if not stored.updates:
            return
        past = await past_of(store, room, parts.history(settings))
        async with _pool(settings) as pool:
            folded = await pool.run(fold, stored, past, parts.bounds(settings))
        if await store_folded(store, stored, folded):
            return


async def restore_version(store: Store, room: str, version_id: str, settings: Settings) -> bool:
    """Give a document the content of a version by an edit; False if it has it already.

    Servers take it in as they take an import: their members see it at once. What they have received and not
    stored yet stays beside it.
    """
    await compact(store, room, settings)
    target = await _read(store, room, version_id)
    live = whole(await existing(store, room))
    async with _pool(settings) as pool:
        taken = decode_state_vector(await pool.run(document_state_vector, live))
        client = 1 + secrets.randbelow(0xFFFF_FFFF)
        while client in taken:
            client = 1 + secrets.randbelow(0xFFFF_FFFF)
        update = await pool.run(restore, live, target, client)
    if update is None:
        return False
    await import_update(store, room, update, revive=False)
    return True


async def archive(store: Store, room: str, settings: Settings) -> bytes:
    """Everything about a document as one file."""
    bounds = parts.archive_bounds(settings)
    await existing(store, room)
    try:
        dump = await store.dump(room, bytes_max=bounds.bytes_max)
    except DumpTooLargeError as error:
        raise AdministrationError(f"{error}: raise archive_bytes_max") from error
    if dump is None:
        raise AdministrationError(f"there is no document {room!r}")
    past = await past_of(store, room, parts.history(settings))
    async with _pool(settings) as pool:
        return await pool.run(write_archive, dump, time.time_ns() // 1_000_000, past, bounds.document)


async def unarchive(
    store: Store, data: bytes, room: str | None, settings: Settings, *, revive: bool
) -> DocumentDump:
    """Make the document that an archive holds, under its own name or another."""
    async with _pool(settings) as pool:
        found = await pool.run(looked_through, data, room, parts.archive_bounds(settings))
    if isinstance(found, Refusal):
        raise HistoryError(found.fault, found.message)
    if not await store.restore_dump(found, revive=revive):
        try:
            await store.load(found.room)
        except DocumentDeletedError:
            raise AdministrationError(
                f"the document {found.room!r} was deleted; --revive takes its name into use again"
            ) from None
        raise AdministrationError(f"there is a document {found.room!r} already")
    return found


async def _read(store: Store, room: str, version_id: str) -> bytes:
    version = await find_version(store, room, version_id)
    found = None if version is None else await read_parts(store, room, version)
    if found is None:
        raise unknown_version(version_id)
    return splice(found) if found else EMPTY


@asynccontextmanager
async def _pool(settings: Settings) -> AsyncIterator[ViewPool]:
    pool = parts.patient_pool(settings)
    try:
        yield pool
    finally:
        await pool.close()
