"""One session's standing in one room: its rights, and what the room keeps about it."""

from __future__ import annotations

from collections.abc import Callable

from collab_server.wire.sync import Framing


class Member:
    """One client's stay in one room. Made by the gateway, joined and left once; compared by identity.

    What is below ``# the room's`` belongs to the room that the member is in; nobody else touches it.
    """

    __slots__ = (
        "can_write",
        "claim",
        "framing",
        "id",
        "invisible",
        "lag",
        "lag_awareness",
        "lag_changes",
        "may_claim",
        "owned",
        "patience_until",
        "slow",
        "stamp",
        "user_id",
        "wants_echo",
        "writable_roots",
        "wrote_as",
    )

    def __init__(
        self,
        id: int,  # noqa: A002 - it is the member's id
        framing: Framing,
        *,
        can_write: bool = True,
        writable_roots: frozenset[str] | None = None,
        wants_echo: bool = False,
        user_id: str | None = None,
        stamp: Callable[[str], str] | None = None,
        invisible: bool = False,
    ) -> None:
        self.id = id
        """Unique on this node; for logs."""
        self.framing = framing
        self.can_write = can_write
        """Whether it may edit. This and ``writable_roots`` may change while it is in the room."""
        self.writable_roots = writable_roots
        """The root types under which it may edit; None for all."""
        self.wants_echo = wants_echo
        """Whether it gets its own edits back, after they are committed."""
        self.user_id = user_id
        """Who it is, if that is known: the author of its edits, and a proof in a dispute over a client id."""

        self.stamp = stamp
        """Puts a verified identity into an awareness state that it announces (JSON text)."""
        self.invisible = invisible
        """Whether others are not to see that it is here. This and ``stamp`` may change meanwhile."""

        # the room's
        self.lag: dict[int, int] | None = None
        """The state vector that it was left at; None while it gets edits as they come. Shared: not
        mutated."""
        self.lag_changes = 0
        """The room's count of changes at that moment."""
        self.lag_awareness = 0
        """The count of changes of presence that it was told when it became slow."""
        self.patience_until = 0.0
        """Until when its step 1 is waited for; 0 once it has come."""
        self.slow = False
        """Whether its socket is full."""
        self.owned: tuple[int, ...] = ()
        """The awareness client ids that it speaks for; few at most, and an empty set takes 216 bytes."""
        self.claim: int | None = None
        """The awareness client id that it has claimed from another, undecided as yet."""
        self.may_claim = True
        """Whether it has not announced anybody yet: only a first announcement can take an id over."""
        self.wrote_as: int | None = None
        """The client id under which it last wrote."""

    @property
    def is_narrowed(self) -> bool:
        """Whether it may write, but not everywhere."""
        return self.can_write and self.writable_roots is not None

    def __repr__(self) -> str:
        return f"Member({self.id})"
