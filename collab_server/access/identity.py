"""Who somebody is, and what they may do in which room. Values; no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What one may do in a room; a higher one may do all that a lower one may."""

    VIEWER = 1
    """Reads, and has presence."""
    COMMENTER = 2
    """Writes under the root type ``comments``, and nowhere else."""
    EDITOR = 3
    """Writes."""
    OWNER = 4
    """Also restores, deletes, exports, and revokes access."""


COMMENTS_ROOT = "comments"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token, or the application, says that somebody is."""

    user_id: str | None = None
    """The ``sub`` of a token. None for the anonymous."""
    name: str | None = None
    session_id: str | None = None
    """What one session is revoked by: ``sid`` of a token, or else its ``jti``."""
    tenant: str | None = None
    """Whose quota counts."""
    invisible: bool = False
    """Whether this user is not to be shown to others."""
    issued_at_ms: int | None = None
    """When the token was issued, in milliseconds since 1970: a revocation holds for what is older."""


ANONYMOUS = Identity()


@dataclass(frozen=True, slots=True)
class Admission:
    """What somebody may do in one room, and until when."""

    identity: Identity
    role: Role
    writable_roots: frozenset[str] | None = None
    """The root types that may be written; None for all of them, where the role writes at all."""
    expires_at_ms: int | None = None
    """When it runs out, in milliseconds since 1970; None for never."""

    @property
    def can_write(self) -> bool:
        """Whether anything at all may be written."""
        return self.role >= Role.COMMENTER and self.writable_roots != frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request comes from, as far as the transport and the trusted proxies tell."""

    address: str | None
    """The client's address, without port."""
    is_loopback: bool
    """Whether it is a program on this very machine, with no proxy between."""
    origin: str | None = None
    """The ``Origin`` header of a browser."""
    host: str | None = None
    """The name under which the client believes to speak to this server: the ``Host`` header."""
