"""What claims say: who somebody is, and what they may do in which rooms. Pure.

The claims are those of a token whose signature holds, or the application's answer. ``docs/access.md`` shows
them; in short::

    {"rooms": {"trip-*": "editor", "trip-7": {"role": "editor", "roots": ["itinerary"]}, "trip-9": "none"}}
    {"rooms": ["trip-1", "trip-2"], "role": "viewer"}
    {"room": "trip-1", "role": "editor", "roots": ["itinerary"]}

Of several patterns that match a room the most specific decides, alone: so an exception can take away as well
as give. Whatever cannot be understood voids the claims as a whole; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from collab_server.access.identity import COMMENTS_ROOT, Identity, Role

ROLES: Final[Mapping[str, Role | None]] = {
    "none": None,
    "viewer": Role.VIEWER,
    "commenter": Role.COMMENTER,
    "editor": Role.EDITOR,
    "owner": Role.OWNER,
}
"""Roles by the names that claims have for them. ``none`` makes an exception to a wider pattern."""
_PATTERNS_MAX: Final = 1000
_ROOTS_MAX: Final = 256
_TEXT_CHARS_MAX: Final = 1024
_ID_CHARS_MAX: Final = 256
_STAR: Final = "*"
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class ClaimsError(Exception):
    """Claims that cannot be understood. The text is short and repeats nothing of them but names of claims."""


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""Names of rooms: a star stands for any characters or none, all else for itself. Case counts.

    ``\*`` is a star and ``\\`` a backslash. A name is compared as it is, decoded once from the request's
    path: no normal form of Unicode, no dots or percent signs that mean anything.
    """

    parts: tuple[str, ...]
    """What stands between the stars; one part where there is none."""

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern. Raises ClaimsError for an empty one, and for a backslash before anything else."""
        if not text or len(text) > _TEXT_CHARS_MAX:
            raise ClaimsError(f"a room must be a text of 1 to {_TEXT_CHARS_MAX} characters")
        if "\\" not in text:
            return cls(tuple(text.split(_STAR)))
        parts, part = [], ""
        characters = iter(text)
        for character in characters:
            if character == _STAR:
                parts.append(part)
                part = ""
            elif character != "\\":
                part += character
            elif (escaped := next(characters, "")) in {_STAR, "\\"}:
                part += escaped
            else:
                raise ClaimsError("in a room, a backslash stands before * or another backslash only")
        return cls((*parts, part))

    @classmethod
    def exactly(cls, room: str) -> Pattern:
        """This room and no other, whatever its name holds."""
        return cls((room,))

    @property
    def is_everything(self) -> bool:
        """Whether it matches each and every room."""
        return len(self.parts) > 1 and not any(self.parts)

    @property
    def rank(self) -> tuple[bool, int]:
        """How specific it is: a whole name before patterns, then by the number of fixed characters."""
        return len(self.parts) == 1, sum(map(len, self.parts))

    def matches(self, room: str) -> bool:
        """Whether it stands for this room. Takes time in proportion to the lengths, whatever they hold."""
        first, *middle = self.parts
        if not middle:
            return room == first
        last = middle.pop()
        if len(room) < len(first) + len(last) or not room.startswith(first) or not room.endswith(last):
            return False
        at, end = len(first), len(room) - len(last)
        for part in middle:
            at = room.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


EVERYTHING: Final = Pattern(("", ""))


@dataclass(frozen=True, slots=True)
class Grant:
    """A role, in rooms, perhaps narrowed to root types."""

    pattern: Pattern
    role: Role | None
    roots: frozenset[str] | None = None

    @property
    def writable_roots(self) -> frozenset[str] | None:
        """The root types that may be written; None for all of them, where the role writes at all."""
        if self.role is Role.COMMENTER:
            comments = frozenset({COMMENTS_ROOT})
            return comments if self.roots is None else comments & self.roots
        return self.roots


@dataclass(frozen=True, slots=True)
class Grants:
    """All that somebody was granted."""

    all: tuple[Grant, ...]

    def of(self, room: str) -> Grant | None:
        """What holds in this room: the most specific grant; of equal ones what both allow. None: nothing."""
        if len(self.all) == 1:
            only = self.all[0]
            return only if only.role is not None and only.pattern.matches(room) else None
        matching = [grant for grant in self.all if grant.pattern.matches(room)]
        if not matching:
            return None
        best = max(grant.pattern.rank for grant in matching)
        return _least(grant for grant in matching if grant.pattern.rank == best)

    def everywhere(self) -> Grant | None:
        """What holds in each and every room, exceptions counted in: needs a grant on ``*``."""
        if not any(grant.pattern.is_everything for grant in self.all):
            return None
        return _least(iter(self.all))


def _least(grants: Iterator[Grant]) -> Grant | None:
    """What all of them allow."""
    least = next(grants)
    for grant in grants:
        if least.role is None or grant.role is None:
            return None
        roots = grant.roots if least.roots is None else least.roots
        if least.roots is not None and grant.roots is not None:
            roots = least.roots & grant.roots
        if min(least.role, grant.role) is Role.COMMENTER:
            roots = frozenset({COMMENTS_ROOT}) if roots is None else roots & {COMMENTS_ROOT}
        least = Grant(least.pattern, min(least.role, grant.role), roots)
    return least if least.role is not None else None


def grants_of(claims: Mapping[str, Any], here: Pattern | None = None) -> Grants:
    """The grants that claims hold.

    Args:
        claims: of a token or an answer.
        here: what a ``role`` without any room speaks of. None: of nothing; it is somebody else's claim.

    Raises:
        ClaimsError: Something in them cannot be understood.
    """
    rooms, room = claims.get("rooms"), claims.get("room")
    found: list[Grant] = []
    if isinstance(rooms, Mapping):
        found = [_entry(pattern, value) for pattern, value in rooms.items()]
    elif isinstance(rooms, list):
        found = [_grant(_pattern(pattern), claims) for pattern in rooms]
    elif rooms is not None:
        raise ClaimsError("rooms must be an object or a list")
    if room is not None:
        found.append(_grant(_pattern(room), claims))
    if here is not None and rooms is None and room is None and "role" in claims:
        found.append(_grant(here, claims))
    if len(found) > _PATTERNS_MAX:
        raise ClaimsError(f"there are more than {_PATTERNS_MAX} rooms")
    return Grants(tuple(found))


def _entry(pattern: str, value: Any) -> Grant:
    if isinstance(value, Mapping):
        if unknown := value.keys() - {"role", "roots"}:
            raise ClaimsError(f"a room has a role and roots, and nothing else ({len(unknown)} more)")
        return _grant(Pattern.parse(pattern), value)
    return _grant(Pattern.parse(pattern), {"role": value})


def _pattern(text: Any) -> Pattern:
    if not isinstance(text, str):
        raise ClaimsError("a room must be text")
    return Pattern.parse(text)


def _grant(pattern: Pattern, holder: Mapping[str, Any]) -> Grant:
    role = holder.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise ClaimsError("role must be one of " + ", ".join(ROLES))
    return Grant(pattern, ROLES[role], _roots(holder.get("roots")))


def _roots(roots: Any) -> frozenset[str] | None:
    if roots is None:
        return None
    if not isinstance(roots, list) or len(roots) > _ROOTS_MAX:
        raise ClaimsError(f"roots must be a list of up to {_ROOTS_MAX} texts")
    if not all(isinstance(root, str) and root and len(root) <= _TEXT_CHARS_MAX for root in roots):
        raise ClaimsError(f"a root must be a text of 1 to {_TEXT_CHARS_MAX} characters")
    return frozenset(roots)


def identity_of(claims: Mapping[str, Any], issued_at_ms: int | None) -> Identity:
    """Who the claims speak of.

    Raises:
        ClaimsError: A claim is not of its type, or too long.
    """
    invisible = claims.get("invisible", False)
    if not isinstance(invisible, bool):
        raise ClaimsError("invisible must be true or false")
    session_id = _text(claims, "sid")
    return Identity(
        user_id=_text(claims, "sub"),
        name=_text(claims, "name") if claims.get("name") != "" else None,
        session_id=_text(claims, "jti") if session_id is None else session_id,
        tenant=_text(claims, "tenant"),
        invisible=invisible,
        issued_at_ms=issued_at_ms,
    )


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > _ID_CHARS_MAX or _CONTROL.search(value):
        raise ClaimsError(
            f"{name} must be a text of 1 to {_ID_CHARS_MAX} characters, without control characters"
        )
    return value
