"""Verified names in presence: puts who somebody really is into the awareness state that they announce.

The JSON text is cut and joined, not written anew: what is not about the identity stays as it came, byte for
byte. Of a name that occurs twice in an object ``JSON.parse`` takes the last, so every occurrence goes, also
one that is spelled with escapes. The clock of an entry is left alone: a Yjs client ignores its own entry when
it comes back with the clock that it has (y-protocols ``awareness.js``, ``applyAwarenessUpdate``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

ANONYMOUS_NAME: Final = "anonymous"
"""What somebody without a verified name or id is called."""
_NAME_MAX: Final = 256
_BLANKS: Final = " \t\n\r"
# As the wire reads it: integers of any length cost nothing.
_JSON: Final = json.JSONDecoder(parse_int=float)


class IdentityStamp:
    """Stamps the states of one user: ``user.id`` and ``user.name``. Give it JSON text that was checked."""

    __slots__ = ("_identity", "_known", "_raw", "_stamped")

    def __init__(self, user_id: str | None, name: str | None) -> None:
        """Who has no name is shown by the id, who has neither as anonymous; an id of None becomes null."""
        shown = (name or user_id or ANONYMOUS_NAME)[:_NAME_MAX]
        self._identity = f'"id":{json.dumps(user_id)},"name":{json.dumps(shown)}'
        self._raw = ""
        self._stamped = "{" + self._identity + "}"
        self._known = ""
        """How the last state began, if it began with its user."""

    def __call__(self, state: str) -> str:
        """The state with the verified user. One that is no object becomes one that holds just that."""
        if self._known and state.startswith(self._known):
            rest = state[len(self._known) :]
            # No other member can be called "user" then, however it is spelled.
            if '"user"' not in rest and "\\" not in rest:
                return f'{{"user":{self._stamped}{rest}'
        raw, others = "", []
        for key, begin, value, end in _members(state, 0):
            if key == "user":
                raw = state[value:end]
            else:
                others.append(state[begin:end])
        if raw != self._raw or not raw:
            kept = [raw[begin:end] for key, begin, _, end in _members(raw, 0) if key not in {"id", "name"}]
            self._stamped = "{" + ",".join([self._identity, *kept]) + "}"
            self._raw = raw
        self._known = f'{{"user":{raw}' if raw.endswith("}") else ""
        return "{" + ",".join([f'"user":{self._stamped}', *others]) + "}"


def _members(text: str, at: int) -> Iterator[tuple[str, int, int, int]]:
    """Of an object each name, and where it, its value and the value's end are; nothing of another value."""
    at = _after_blanks(text, at)
    if text[at : at + 1] != "{":
        return
    at = _after_blanks(text, at + 1)
    while text[at] != "}":
        begin = at
        key, at = _JSON.raw_decode(text, at)
        value = _after_blanks(text, _after_blanks(text, at) + 1)
        _, end = _JSON.raw_decode(text, value)
        yield key, begin, value, end
        at = _after_blanks(text, end)
        if text[at] == ",":
            at = _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANKS:
        at += 1
    return at
