"""Real Yjs updates, written by hand: one person who types into a Y.Text, and takes letters back.

The layout is that of Yjs 13 (``structs/Item.js`` ``Item.write``, ``structs/ContentString.js``,
``utils/DeleteSet.js``). A document per client would cost a hundred times the memory and time of these few
bytes, and the generator would be the bottleneck.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from collab_server.wire.lib0 import encode_var_string, encode_var_uint

_TEXT: Final = 4
_WITH_ORIGIN: Final = bytes((0x80 | _TEXT,))
_IN_ROOT: Final = bytes((_TEXT, 1))

_SENTENCE: Final = (
    "the ferry leaves at nine and the museum opens at ten so bring the tickets and a warm coat for the old "
    "town where dinner is booked near the station ask for a room with a view of the harbour "
)

CORPUS: Final = _SENTENCE * 40


@dataclass(frozen=True, slots=True)
class Edit:
    """One message: an update, and by what it will be known when it comes out on the other side."""

    update: bytes
    end: int
    """The author's clock after it."""
    deleted: tuple[int, int] | None = None
    """Client and clock of the first thing that it deletes, if it writes nothing."""


class Typist:
    """One author. What it writes stays together, whatever others write meanwhile."""

    __slots__ = ("_alive", "_at", "_head", "_root", "_var_client", "client", "clock")

    def __init__(self, client: int, root: str, dice: random.Random) -> None:
        self.client = client
        self.clock = 0
        self._var_client = encode_var_uint(client)
        self._head = b"\x01\x01" + self._var_client
        self._root = _IN_ROOT + encode_var_string(root)
        self._alive: list[tuple[int, int]] = []
        """What it wrote and has not deleted, as (clock, length), in the order of the text."""
        self._at = dice.randrange(len(CORPUS))

    def insert(self, chars: int) -> Edit:
        """Write some more behind what this author wrote last."""
        text = self._text(chars)
        if self._alive:
            begin, length = self._alive[-1]
            place = _WITH_ORIGIN + self._var_client + encode_var_uint(begin + length - 1)
        else:
            place = self._root
        update = b"".join((self._head, encode_var_uint(self.clock), place, encode_var_string(text), b"\x00"))
        if self._alive and begin + length == self.clock:
            self._alive[-1] = (begin, length + chars)
        else:
            self._alive.append((self.clock, chars))
        self.clock += chars
        return Edit(update, self.clock)

    def backspace(self) -> Edit | None:
        """Take the last character back; None when there is none."""
        if not self._alive:
            return None
        begin, length = self._alive.pop()
        if length > 1:
            self._alive.append((begin, length - 1))
        clock = begin + length - 1
        update = b"".join((b"\x00\x01", self._var_client, b"\x01", encode_var_uint(clock), b"\x01"))
        return Edit(update, self.clock, (self.client, clock))

    def _text(self, chars: int) -> str:
        at = self._at
        if at + chars <= len(CORPUS):
            self._at = at + chars
            return CORPUS[at : at + chars]
        self._at = 0
        return (CORPUS * (chars // len(CORPUS) + 1))[:chars]


def seed_updates(client: int, root: str, size: int, piece_chars: int, update_bytes_max: int) -> list[bytes]:
    """Updates of a text of about ``size`` bytes in pieces, as if several people had typed them in turns.

    Two authors take turns, so that no two neighbours are of one author and the document keeps its pieces.
    """
    updates: list[bytes] = []
    structs: dict[int, list[bytes]] = {client: [], client + 1: []}
    starts = {client: 0, client + 1: 0}
    clocks = {client: 0, client + 1: 0}
    origin: tuple[int, int] | None = None
    gathered = written = n = 0

    def finish() -> bytes:
        sections = [
            encode_var_uint(len(listed))
            + encode_var_uint(who)
            + encode_var_uint(starts[who])
            + b"".join(listed)
            for who, listed in sorted(structs.items(), reverse=True)
            if listed
        ]
        return encode_var_uint(len(sections)) + b"".join(sections) + b"\x00"

    while written < size:
        who = client + n % 2
        chars = min(piece_chars, size - written)
        begin = (n * 7919) % (len(CORPUS) - piece_chars) if piece_chars < len(CORPUS) else 0
        text = encode_var_string((CORPUS[begin:] * (chars // len(CORPUS) + 2))[:chars])
        if origin is None:
            place = _IN_ROOT + encode_var_string(root)
        else:
            place = _WITH_ORIGIN + encode_var_uint(origin[0]) + encode_var_uint(origin[1])
        structs[who].append(place + text)
        clocks[who] += chars
        origin = (who, clocks[who] - 1)
        written += chars
        gathered += len(place) + len(text)
        n += 1
        if gathered >= update_bytes_max or written >= size:
            updates.append(finish())
            structs = {client: [], client + 1: []}
            starts = dict(clocks)
            gathered = 0
    return updates
