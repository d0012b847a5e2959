"""How much of anything one document or one message may hold."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on what comes from outside. Counts inside a message are always bounded by its bytes as well."""

    update_bytes_max: int = 16 * _MIB
    """One update. Longer ones are refused before they are looked at."""
    update_parts_max: int = 1_000_000
    """Structs in one update, and ranges of deletions in one update: they cost time whatever their bytes."""
    document_bytes_max: int = 256 * _MIB
    """All of one document: structs, deletions and pending structs."""
    pending_bytes_max: int = 4 * _MIB
    """Structs of one document that wait for earlier ones, including a fixed cost for each separate run of
    them.
    """
    nesting_depth_max: int = 500
    """Levels of values inside one value, and of shared types inside shared types."""
    json_values_max: int = 1_000_000
    """Values in one JSON content (an embed, a format, the old kind of array): checking one builds them all
    for a moment.
    """
    state_vector_entries_max: int = 100_000
    """Clients named in one state vector, and clients that have written to one document."""


DEFAULT_BOUNDS = Bounds()

UNBOUNDED = Bounds(
    update_bytes_max=2**53,
    update_parts_max=2**53,
    document_bytes_max=2**53,
    pending_bytes_max=2**53,
    json_values_max=2**53,
    state_vector_entries_max=2**53,
)
"""For bytes of our own making. Nesting stays bounded: it protects those who read the result."""
