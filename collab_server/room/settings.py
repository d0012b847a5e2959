"""The bounds and times of a room."""

from __future__ import annotations

from dataclasses import dataclass

from collab_server.ydoc.bounds import DEFAULT_BOUNDS, Bounds


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """What every room of a node goes by."""

    flush_window_max_ms: float = 20.0
    """The longest that edits of a busy room are gathered before they are sent on; 0 sends each turn's at
    once."""
    flush_quiet_deliveries_per_s: float = 500.0
    """Up to this load (edits times members) a room has no window at all."""
    flush_full_deliveries_per_s: float = 8_000.0
    """From this load on the window has its full length; between the two it grows in proportion."""

    awareness_window_ms: float = 50.0
    """The shortest time between two awareness broadcasts."""
    presence_grace_s: float = 30.0
    """A client whose connection broke without a goodbye is shown for so much longer."""
    presence_timeout_s: float = 30.0
    """A client that has not renewed its state for so long is removed; clients do the same among
    themselves."""
    presence_claim_patience_ms: float = 500.0
    """How long a live connection may take to defend its client id against a newer one."""
    awareness_state_bytes_max: int = 64 * 1024
    """One client's state; past it the sender is closed with 4413."""
    awareness_bytes_max: int = 1024 * 1024
    """All states of the room together; past it the sender is closed with 4413."""
    awareness_clients_max: int = 4_000
    """States in the room; past it the sender is closed with 4413."""
    awareness_clients_per_member_max: int = 16
    """Client ids that one connection may own. Further ones are ignored: clients do repeat what others
    said."""
    awareness_tombstones_max: int = 1_000
    """Clients that have gone whose last clock is remembered, so that a late echo does not bring them back."""

    room_bytes_max: int = 64 * 1024 * 1024
    """The document; past it the sender of more is closed with 4413. Deletions are still taken."""
    tail_bytes_max: int = 256 * 1024
    """Recent edits kept apart; past it they are squashed into the base at the end of a flush."""
    members_max: int = 2_000
    """Connections in the room; past it a further one is closed with 1013."""
    writers_remembered_max: int = 10_000
    """Client ids of which the room remembers whose they are, for the sake of those whose rights are narrowed
    while they are here; past it the oldest are forgotten, and such a one has to sync anew."""
    join_patience_ms: float = 1_000.0
    """How long a member that has joined is given to send its step 1 before it gets live edits without it."""

    bounds: Bounds = DEFAULT_BOUNDS
    """What one update or state vector from a client may hold."""
