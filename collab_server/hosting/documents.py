"""Documents for those who are not members of a room: the HTTP API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from collab_server.errors import BusyError, CloseCode, GoneError
from collab_server.hosting.registry import Registry
from collab_server.ydoc.update import splice
from persistence.base import DocumentInfo, Store
from persistence.errors import DocumentDeletedError, StoreError

Run = Callable[[Callable[[Sequence[bytes]], bytes], Sequence[bytes]], Awaitable[bytes]]
"""Runs a module-level function in a worker process."""


class Documents:
    """Reads and deletes documents, open or not. Calls raise BusyError while the store is away."""

    def __init__(self, store: Store, registry: Registry, run_in_worker: Run) -> None:
        self._store = store
        self._registry = registry
        self._run_in_worker = run_in_worker
        self.on_deleted: Callable[[str], None] = lambda _room: None
        """Tells the other nodes that a document was deleted; in the store's notices they read it later."""

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        """The stored documents by name."""
        try:
            return await self._store.list_documents(after=after, prefix=prefix, limit=limit)
        except StoreError as error:
            raise _away(error) from error

    async def read_update(self, room: str) -> bytes | None:
        """The document as one update, with every edit that this node has received; None if there is none.

        Raises GoneError for a deleted document.
        """
        host = self._registry.get(room)
        if host is not None:
            return host.encode()
        try:
            stored = await self._store.load(room)
        except DocumentDeletedError as error:
            raise GoneError("the document was deleted") from error
        except StoreError as error:
            raise _away(error) from error
        if stored is None:
            return None
        parts = [row.data for row in stored.updates]
        if stored.snapshot is not None:
            parts.insert(0, stored.snapshot.data)
        return parts[0] if len(parts) == 1 else await self._run_in_worker(splice, parts)

    async def delete(self, room: str) -> bool:
        """Remove the document for good and close its members with 4404. False if there is none."""
        host = self._registry.get(room)
        if host is not None:
            # What is in a window now was received before the deletion, and goes with it.
            host.flush()
        try:
            deleted = await self._store.delete(room)
        except StoreError as error:
            raise _away(error) from error
        if deleted:
            self.on_deleted(room)
        if deleted and host is not None:
            host.end(GoneError("the document was deleted"))
        return deleted

    async def revive(self, room: str) -> None:
        """Let the name of a deleted document be used again. No effect where nothing was deleted."""
        try:
            await self._store.restore_name(room)
        except StoreError as error:
            raise _away(error) from error


def _away(error: StoreError) -> BusyError:
    return BusyError(f"the store is away: {error}", CloseCode.STORE_UNAVAILABLE)
