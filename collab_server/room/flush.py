"""What a room has decided: what to send to whom, what to store, what to publish."""

from __future__ import annotations

from dataclasses import dataclass, field

from collab_server.room.member import Member


@dataclass(slots=True)
class Flush:
    """The decisions of one flush. Every list may be empty and every payload None.

    A caller carries them out in any order, but before it hands the room anything else.
    """

    update: bytes | None = None
    """One update for ``recipients`` and ``echo``: a single edit is the very bytes object that came in."""
    journal: bytes | None = None
    """What is to be stored: the local part of ``update``, and what waits for its earlier parts."""
    publish: bytes | None = None
    """What other nodes are to be told; they keep for themselves what waits for its earlier parts."""
    recipients: list[Member] = field(default_factory=list)
    authors: tuple[str, ...] = ()
    """The users whose edits are in ``journal``."""
    echo: list[Member] = field(default_factory=list)
    """Members that get ``update`` when ``journal`` is committed: it holds edits of theirs."""
    late: list[tuple[Member, bytes]] = field(default_factory=list)
    """Members that get an update of their own, and live ones from now on."""

    awareness: bytes | None = None
    """One awareness payload for ``awareness_recipients``."""
    awareness_publish: bytes | None = None
    awareness_recipients: list[Member] = field(default_factory=list)
    awareness_private: list[tuple[Member, bytes]] = field(default_factory=list)
    """Awareness payloads for one member each; to be sent before ``awareness``."""

    window_ms: float = 0.0
    """How long ``update`` was gathered."""
    received_at: float = 0.0
    """When the oldest edit of ``update`` came."""
    updates_count: int = 0
    """How many edits are in ``update`` and ``journal``."""
