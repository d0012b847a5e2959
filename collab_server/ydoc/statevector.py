"""State vectors: for each client the clock up to which everything is known.

Layout (yjs ``src/utils/encoding.js``, ``writeStateVector``): count, then client and clock for each, as
var-uints.
"""

from __future__ import annotations

from collections.abc import Mapping

from collab_server.errors import MalformedError
from collab_server.wire.lib0 import encode_var_uint, read_var_uint
from collab_server.ydoc.bounds import DEFAULT_BOUNDS, Bounds

StateVector = dict[int, int]

EMPTY = b"\x00"
"""The state vector of somebody who knows nothing."""


def decode_state_vector(data: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> StateVector:
    """Read a state vector. A client named twice counts with its last entry, as in Yjs.

    Raises:
        MalformedError: Truncated, bytes left over, or more entries announced than the bounds or the bytes
        allow.
    """
    count, at = read_var_uint(data, 0)
    if count > bounds.state_vector_entries_max or count * 2 > len(data) - at:
        raise MalformedError("state vector announces too many entries")
    vector: StateVector = {}
    for _ in range(count):
        client, at = read_var_uint(data, at)
        vector[client], at = read_var_uint(data, at)
    if at != len(data):
        raise MalformedError("bytes left over after a state vector")
    return vector


def encode_state_vector(vector: Mapping[int, int]) -> bytes:
    """Encode a state vector, in one form for equal vectors.

    Higher client ids come first, and entries of clock 0 are left out.
    """
    entries = [(client, clock) for client, clock in vector.items() if clock > 0]
    entries.sort(reverse=True)
    parts = [encode_var_uint(len(entries))]
    for client, clock in entries:
        parts.append(encode_var_uint(client))
        parts.append(encode_var_uint(clock))
    return b"".join(parts)


def covers(vector: Mapping[int, int], other: Mapping[int, int]) -> bool:
    """Whether everything that ``other`` speaks of is known to ``vector``."""
    return all(clock <= vector.get(client, 0) for client, clock in other.items())
