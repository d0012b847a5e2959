"""The store's errors.

StoreError
+-- StoreUnavailableError   gone, full, locked or too slow; the same call may succeed later
+-- DocumentDeletedError    the document was deleted; a tombstone stands in its place
+-- DocumentMissingError    there is no such document, and the call does not make one
+-- DumpTooLargeError       a document with its history is larger than the caller can take
+-- SchemaError             the store's schema is newer or older than this code's, or not ours
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


class DocumentMissingError(StoreError):
    """There is no such document."""

    def __init__(self, room: str) -> None:
        super().__init__(f"there is no document {room!r}")
        self.room = room


class DumpTooLargeError(StoreError):
    """A document and its history together are larger than the caller can take."""

    def __init__(self, room: str, bytes_total: int, bytes_max: int) -> None:
        super().__init__(f"the document {room!r} has {bytes_total} bytes with its history, over {bytes_max}")
        self.room = room
        self.bytes_total = bytes_total
        self.bytes_max = bytes_max


class SchemaError(StoreError):
    """The schema is newer or older than this code's, or the database holds something else."""


class StoreUrlError(StoreError):
    """The store's address is wrong."""
