"""One small snapshot of what a store holds of a document.

For large documents this runs in a worker process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collab_server.ydoc.bounds import DEFAULT_BOUNDS, Bounds
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.update import collect_all, read_update, write_update


@dataclass(frozen=True, slots=True)
class Compacted:
    """A snapshot, and the index with which it is opened without a walk."""

    data: bytes
    index: bytes


def compact(snapshot: bytes | None, updates: Sequence[bytes], bounds: Bounds = DEFAULT_BOUNDS) -> Compacted:
    """Unite a snapshot and the updates after it, without deleted content and in as few structs as can be.

    Structs that still wait for earlier ones are kept, separated by Skips: nothing that was stored is lost.

    Raises:
        MalformedError: Something of it is not an update.
    """
    data = collect_all([snapshot, *updates] if snapshot else updates)
    return Compacted(data, DocumentLog.open(data, b"", (), bounds).index())


def segment(updates: Sequence[bytes]) -> bytes:
    """Unite some updates in as few structs as can be, with the content that was deleted since: history.

    Raises:
        MalformedError: Something of it is not an update.
    """
    return write_update(*read_update(updates))
