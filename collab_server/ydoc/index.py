"""The index of a stored base: what a log needs to know of it without walking it.

A version, a checksum of the rest, then msgpack. It is kept beside the base by whoever stores it, says which
base it is for, and is of no use for any other: then it is ignored and the base is walked.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from zlib import crc32

import msgpack  # type: ignore[import-untyped]

from collab_server.ydoc.pending import Run
from collab_server.ydoc.pieces import Chunk, ClientPieces

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies where in a base."""

    pieces: dict[int, ClientPieces]
    pending: list[Run]
    deletes_at: int


def write_index(base: bytes, contents: Contents) -> bytes:
    """The index for a base whose clients have one chunk each, or fewer."""
    clients = []
    for client, pieces in contents.pieces.items():
        chunk = pieces.chunks[0]
        clients.append(
            (
                client,
                chunk.at,
                chunk.until,
                chunk.count,
                chunk.last_at,
                chunk.last_clock,
                chunk.marks.tobytes(),
                pieces.depth_clocks.tobytes(),
                pieces.depths.tobytes(),
                pieces.count,
            )
        )
    runs = [(run.client, run.clock, run.end, run.at, run.until) for run in contents.pending]
    packed: bytes = msgpack.packb((len(base), crc32(base), contents.deletes_at, clients, runs))
    return bytes((_VERSION,)) + crc32(packed).to_bytes(4, "big") + packed


def read_index(base: bytes, index: bytes) -> Contents | None:
    """What an index says of a base; None when it is for another base, of another version, or damaged."""
    try:
        if index[0] != _VERSION or int.from_bytes(index[1:5], "big") != crc32(index[5:]):
            return None
        size, checksum, deletes_at, clients, runs = msgpack.unpackb(index[5:])
        if size != len(base) or checksum != crc32(base):
            return None
        pieces: dict[int, ClientPieces] = {}
        for client, at, until, count, last_at, last_clock, marks, depth_clocks, depths, total in clients:
            made = pieces[client] = ClientPieces(client)
            chunk = Chunk(base, at, 0)
            chunk.until, chunk.count, chunk.last_at, chunk.last_clock = until, count, last_at, last_clock
            chunk.marks = array("q", marks)
            made.chunks.append(chunk)
            made.depth_clocks = array("q", depth_clocks)
            made.depths = array("q", depths)
            made.count = total
            made.bytes_total = chunk.size
        pending = [Run(client, clock, end, base, at, until) for client, clock, end, at, until in runs]
    except (IndexError, ValueError, TypeError, msgpack.exceptions.UnpackException):
        return None
    return Contents(pieces, pending, deletes_at)
