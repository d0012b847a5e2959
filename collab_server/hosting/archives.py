"""Documents out of this server as archives, and into it: the store's side of ``hosting.archive``."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from collab_server.errors import BusyError, CloseCode, GoneError, HistoryError, HistoryFault
from collab_server.hosting.archive import ArchiveBounds, Refusal, looked_through, write_archive
from collab_server.hosting.compactor import Worker
from collab_server.hosting.folding import Past
from collab_server.hosting.history import History
from collab_server.hosting.settings import HistorySettings
from collab_server.views.pool import ViewFailedError
from persistence.base import DocumentDump, HistorySize, Store
from persistence.errors import DocumentDeletedError, DumpTooLargeError, StoreError

log = structlog.get_logger(__name__)

_BUSY = frozenset(("full", "closed"))


class Archives:
    """Exports and imports. Calls raise BusyError while the store is away."""

    def __init__(
        self,
        store: Store,
        history: History,
        workers: Worker,
        settings: HistorySettings,
        bounds: ArchiveBounds,
        *,
        replica: Store | None = None,
        wall_clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._replica = replica
        self._history = history
        self._workers = workers
        self._settings = settings
        self._bounds = bounds
        self._wall_clock_ms = wall_clock_ms

    async def export(self, room: str) -> bytes:
        """Everything about one document as one file.

        Raises GoneError for a deleted document, HistoryError if there is none or it is too large.
        """
        await self._history.refresh(room)
        dump = await self._dump(room)
        past = Past(HistorySize(), 0, self._settings.retention_days > 0, self._settings.rule)
        file: bytes = await self._workers.run(
            write_archive, dump, self._wall_clock_ms(), past, self._bounds.document
        )
        return file

    async def restore(self, data: bytes, room: str, *, revive: bool = False) -> DocumentDump:
        """Make the document that an archive holds, under this name; returns what was written.

        Raises HistoryError if the archive cannot be read or the name is taken. Nothing is written then.
        """
        try:
            found = await self._workers.run(looked_through, data, room, self._bounds)
        except ViewFailedError as error:
            if error.reason in _BUSY:
                raise
            raise HistoryError(
                HistoryFault.TOO_LARGE, f"the archive takes more than a worker may use ({error.reason})"
            ) from error
        if isinstance(found, Refusal):
            raise HistoryError(found.fault, found.message)
        dump: DocumentDump = found
        try:
            if not await self._store.restore_dump(dump, revive=revive):
                await self._say_why(room)
        except StoreError as error:
            raise _away(error) from error
        log.info("archive imported", room=room, bytes=dump.bytes_total)
        return dump

    async def _dump(self, room: str) -> DocumentDump:
        bytes_max = self._bounds.bytes_max
        try:
            if self._replica is not None:
                try:
                    found = await self._replica.dump(room, bytes_max=bytes_max)
                except (DumpTooLargeError, DocumentDeletedError):
                    raise
                except StoreError as error:
                    log.debug("the replica cannot be read", error=str(error))
                    found = None
                if found is not None:
                    return found
            found = await self._store.dump(room, bytes_max=bytes_max)
        except DocumentDeletedError as error:
            raise GoneError("the document was deleted") from error
        except DumpTooLargeError as error:
            raise HistoryError(
                HistoryFault.TOO_LARGE,
                f"the document has {error.bytes_total} bytes with its history, over archive_bytes_max "
                f"({bytes_max})",
            ) from error
        except StoreError as error:
            raise _away(error) from error
        if found is None:
            raise HistoryError(HistoryFault.UNKNOWN_DOCUMENT, f"there is no document {room!r}")
        return found

    async def _say_why(self, room: str) -> None:
        try:
            await self._store.load(room)
        except DocumentDeletedError as error:
            raise HistoryError(
                HistoryFault.DELETED,
                f"a document {room!r} was deleted; ask with revive to use its name again",
            ) from error
        raise HistoryError(HistoryFault.EXISTS, f"there is a document {room!r} already")


def _away(error: StoreError) -> BusyError:
    return BusyError(f"the store is away: {error}", CloseCode.STORE_UNAVAILABLE)
