"""What hosting needs to know, parsed elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from persistence.history import SegmentRule


class Ack(Enum):
    """When an edit is acknowledged."""

    COMMITTED = "committed"
    """After the store has committed it: it survives the death of this machine's processes."""
    APPLIED = "applied"
    """As soon as the room has it in memory: faster, and lost if the process dies before the commit."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Bounds and pace of the group commit."""

    group_bytes_max: int = 8 * 1024 * 1024
    group_entries_max: int = 10_000
    journal_bytes_max: int = 256 * 1024 * 1024
    """Bytes waiting for the store on this node; past it, edits are refused with 4503."""
    room_journal_bytes_max: int = 10 * 1024 * 1024
    """The same for one room."""
    commit_interval_ms: float = 25.0
    """The shortest time between the beginnings of two commits."""
    retry_min_ms: int = 50
    retry_max_ms: int = 5_000
    failures_until_unready: int = 1
    """Failed commits in a row that turn ``/ready`` red."""
    stall_s: float = 5.0
    """A commit that takes longer turns ``/ready`` red."""


@dataclass(frozen=True, slots=True)
class HostingSettings:
    """Bounds and pace of the rooms on this node."""

    ack: Ack = Ack.COMMITTED
    rooms_max: int = 50_000
    room_quiet_evict_s: float = 60.0
    held_frames_max: int = 10_000
    """Acknowledgements kept for a member whose socket is full; past it the member is closed with 1013."""
    held_bytes_max: int = 1024 * 1024
    """The same in bytes."""
    settle_timeout_s: float = 5.0
    """How long opening a room may wait for the commit of what its last life on this node left behind."""
    compact_after_updates: int = 500
    compact_after_bytes: int = 1024 * 1024
    checkpoint_after_s: float = 300.0
    """An open room's edits become an automatic version when the oldest of them has waited for so long."""
    compact_in_worker_bytes: int = 16 * 1024
    """Smaller documents are compacted in place: it takes less than a worker's answer."""
    store_timeout_s: float = 10.0
    store_notice_poll_ms: float = 1_000
    failures_until_unready: int = 1
    """Failed pings of the store in a row that turn ``/ready`` red."""
    store_ping_s: float = 5.0


@dataclass(frozen=True, slots=True)
class SharingSettings:
    """Bounds and pace of what this node and the others tell each other of rooms."""

    anti_entropy_interval_s: float = 30.0
    """How often a room that other nodes host too is compared with theirs; the times are drawn by lot."""
    adopt_after_s: float = 30.0
    """An edit of another node that was not said to be stored for so long is stored by this one."""
    unproven_bytes_max: int = 1024 * 1024
    """Edits of other nodes in one room that are not known to be stored; past it this node stores them."""
    opening_bytes_max: int = 4 * 1024 * 1024
    """Messages of other nodes that are kept for a room while it is read from the store; past it they are
    dropped, and asked for again."""
    sync_answers_max_per_s: float = 10.0
    """Answers of one room to those who ask for what they lack; requests share them."""
    answer_spread_ms: float = 10.0
    """Over how long answers to one request are spread, so that the first can spare the others."""
    resync_rooms_max_per_s: float = 200.0
    """Rooms that are read from the store again per second, after messages were lost."""
    store_timeout_s: float = 10.0
    """How long that may take for one room."""


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """How much history there is, and what may be asked of it."""

    rule: SegmentRule = field(default_factory=SegmentRule)
    retention_days: int = 90
    """0 keeps no history."""
    retention_interval_s: float = 3_600.0
    """How often it is looked for history that is too old."""
    retention_rooms_max: int = 200
    """Documents that are trimmed in one such look; the next look goes on."""
    versions_max: int = 1_000
    """Named versions of one document."""
    fold_in_worker_bytes: int = 16 * 1024
    """What is put together from more bytes than this is put together in a worker."""
    settle_timeout_s: float = 10.0
    """How long a caller waits until the store has what the room has."""
