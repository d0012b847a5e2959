"""The store's errors.

StoreError
+-- StoreUnavailableError   gone, full, locked or too slow; the same call may succeed later
+-- DocumentDeletedError    the document was deleted; a tombstone stands in its place
+-- SchemaError             the store's schema is newer than this code, or not ours
+-- StoreUrlError           the address of the store is wrong; the text is for who typed it
"""

from __future__ import annotations


class StoreError(Exception):
    """The root of the store's errors."""


class StoreUnavailableError(StoreError):
    """The store is gone, full, locked or too slow. Nothing is known to be wrong with the request."""


class DocumentDeletedError(StoreError):
    """The document was deleted."""

    def __init__(self, room: str) -> None:
        super().__init__(f"the document {room!r} was deleted")
        self.room = room


class SchemaError(StoreError):
    """The schema is newer than this code knows, or the database holds something else."""


class StoreUrlError(StoreError):
    """The store's address is wrong."""
