"""Which shard a room's messages travel in: the same answer on every node, whatever its Python or machine."""

from __future__ import annotations

from zlib import crc32

SHARDS_DEFAULT = 32


def shard_of(room: str, shards_count: int) -> int:
    """The shard of a room: CRC-32 of its name in UTF-8, modulo the number of shards.

    Never change it: nodes of two versions would not hear each other.
    """
    return crc32(room.encode("utf-8", "surrogatepass")) % shards_count
