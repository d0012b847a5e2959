"""What ``collab-server doc`` does: works on the store itself, also while servers use it.

Servers hear of a deletion through the store, and of an import through a notice that it leaves. Nothing here
prints.
"""

from __future__ import annotations

import difflib
import os
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from collab_server.config import Settings
from collab_server.errors import CollabError, PeerError, TooBigError
from collab_server.views.documents import document_json, document_outline, document_state_vector
from collab_server.views.pool import ViewPool
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.statevector import decode_state_vector
from collab_server.ydoc.update import splice
from persistence.base import Append, DocumentInfo, NoticeKind, Store, StoredDocument
from persistence.errors import DocumentDeletedError
from persistence.urls import open_store

PAGE = 1000
SUGGESTIONS_FROM_MAX = 20_000
UPDATE_V2_HINT = "only version 1 of Yjs' update encoding is taken"


class AdministrationError(CollabError):
    """A command cannot be done. The text is one line for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What a document is, in figures."""

    stored: StoredDocument
    info: DocumentInfo | None
    roots: Sequence[tuple[str, str, int]]
    """Name, kind and length of each root type."""
    state_vector: dict[int, int]


@asynccontextmanager
async def opened_store(settings: Settings, *, create: bool = False) -> AsyncIterator[Store]:
    """The store that the settings name, open. Without ``create`` a missing one is not made but reported."""
    store = open_store(settings.store)
    if settings.store.strip().lower().startswith("memory:"):
        raise AdministrationError("the store memory: lives inside a server; name another with --store")
    path = getattr(store, "path", None)
    if isinstance(path, Path) and not create and not path.exists():
        raise AdministrationError(f"there is no store at {path}")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def list_documents(store: Store, prefix: str) -> AsyncIterator[DocumentInfo]:
    """All documents by name, read a page at a time."""
    after = ""
    while page := await store.list_documents(after=after, prefix=prefix, limit=PAGE):
        for info in page:
            yield info
        after = page[-1].room


async def existing(store: Store, room: str) -> StoredDocument:
    """What the store holds of a room; AdministrationError, with names that are close, if nothing."""
    try:
        stored = await store.load(room)
    except DocumentDeletedError:
        raise AdministrationError(f"the document {room!r} was deleted") from None
    if stored is None:
        raise AdministrationError(f"there is no document {room!r}{await _did_you_mean(store, room)}")
    return stored


async def outline(store: Store, room: str, settings: Settings) -> Outline:
    """A document's sizes, clients and root types."""
    stored = await existing(store, room)
    update = whole(stored)
    pool = _pool(settings)
    try:
        roots = await pool.run(document_outline, update)
        vector = await pool.run(document_state_vector, update)
    finally:
        await pool.close()
    infos = await store.list_documents(prefix=room, limit=1)
    info = infos[0] if infos and infos[0].room == room else None
    return Outline(stored, info, roots, dict(decode_state_vector(vector)))


async def as_json(store: Store, room: str, settings: Settings, *, rich: bool) -> str:
    """A document as JSON."""
    update = whole(await existing(store, room))
    pool = _pool(settings)
    try:
        return (await pool.run(document_json, update, rich)).decode()
    finally:
        await pool.close()


def whole(stored: StoredDocument) -> bytes:
    """The document as one update, without loss."""
    parts = [row.data for row in stored.updates]
    if stored.snapshot is not None:
        parts.insert(0, stored.snapshot.data)
    return parts[0] if len(parts) == 1 else splice(parts)


def checked_update(data: bytes, name: str, settings: Settings) -> bytes:
    """The bytes, if they are a Yjs update within bounds; AdministrationError says what is wrong."""
    if not data:
        raise AdministrationError(f"{name} is empty, so it is not a Yjs update")
    bounds = Bounds(
        update_bytes_max=settings.room_bytes_max,
        document_bytes_max=settings.room_bytes_max,
        pending_bytes_max=settings.pending_bytes_max,
        nesting_depth_max=settings.nesting_depth_max,
    )
    try:
        inspected = inspect(data, bounds)
        # How deep types hang in each other is seen only when they are put together.
        DocumentLog(bounds).add(inspected)
    except TooBigError as error:
        raise AdministrationError(f"{name} is too big: {error.reason}") from error
    except PeerError as error:
        raise AdministrationError(f"{name} is not a Yjs update: {error.reason} ({UPDATE_V2_HINT})") from error
    if inspected.is_empty:
        raise AdministrationError(f"{name} is a Yjs update with nothing in it")
    return data


async def import_update(store: Store, room: str, data: bytes, *, revive: bool) -> None:
    """Merge a checked update into a document, making it if needed, and tell the servers."""
    if revive:
        await store.restore_name(room)
    (appended,) = await store.append([Append(room, data, at_ms=time.time_ns() // 1_000_000)])
    if appended.deleted:
        raise AdministrationError(
            f"the document {room!r} was deleted; --revive takes its name into use again"
        )
    await store.notify(room, NoticeKind.CHANGED)


async def delete(store: Store, room: str) -> None:
    """Delete a document for good."""
    if not await store.delete(room):
        await existing(store, room)
        raise AdministrationError(f"the document {room!r} could not be deleted")


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises OSError."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A folder, which is refused, or a device or pipe, which must not be replaced.
        path.write_bytes(data)
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _pool(settings: Settings) -> ViewPool:
    return ViewPool(1, timeout_s=settings.view_timeout_s, memory_bytes_max=settings.view_memory_bytes_max)


async def _did_you_mean(store: Store, room: str) -> str:
    names: list[str] = []
    async for info in list_documents(store, ""):
        names.append(info.room)
        if len(names) >= SUGGESTIONS_FROM_MAX:
            break
    close = difflib.get_close_matches(room, names, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ""
