"""What fuzzing is made of: messages that clients really send, and ways to bend bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from pycrdt import Doc, Text

from collab_server.ydoc.update import splice
from tests.support import frames, muxframes, yupdate
from tests.support.frames import var_bytes, var_string, var_uint
from tests.support.ydocs import Session

_EDGES = (0, 1, 127, 128, 2**14, 2**31 - 1, 2**31, 2**32 - 1, 2**53 - 1, 2**53, 2**64 - 1, 2**70)
_BYTES_MAX = 200_000
_SESSIONS = 6


NOTHING = b"\x00\x00"
"""An update of nothing."""


class Material:
    """Deterministic: the same seed makes the same messages."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self._sessions = [Session(self.dice.randrange(2**32)) for _ in range(_SESSIONS)]
        self._updates = [splice(session.edit(n * 4) or [NOTHING]) for n, session in enumerate(self._sessions)]
        self._clock = 0

    def update(self) -> bytes:
        """A valid update: a whole document, an edit of one, or one by hand as no client would write it."""
        dice = self.dice
        match dice.randrange(5):
            case 0:
                return dice.choice(self._updates)
            case 1:
                session = dice.choice(self._sessions)
                # yrs writes its maps in an order of its own each time: a seed could not be played again.
                return splice([dice.choice(session.edit(1) or [NOTHING])])
            case 2:
                return yupdate.text_update(dice.randrange(1, 9), dice.choice((0, 1, 5, 10**6)), "words " * 3)
            case 3:
                deletes = [(dice.randrange(1, 9), [(dice.randrange(50), dice.randrange(1, 50))])]
                return yupdate.update([], yupdate.delete_set(deletes))
            case _:
                return _keystroke(dice)

    def awareness(self) -> bytes:
        """An awareness message (plain framing), mostly of good states."""
        dice = self.dice
        self._clock += 1
        entries = []
        for _ in range(dice.choice((0, 1, 1, 1, 2, 20))):
            state: object = dice.choice(
                (None, {}, 7, "x", [], {"user": {"name": "Ann"}}, {"cursor": [1] * 50})
            )
            client = dice.choice((1, 2, 3, dice.randrange(2**32), *_EDGES))
            clock = dice.choice((0, 1, self._clock, 2**32 - 1, 2**53 - 1))
            text = json.dumps(state) if dice.random() < 0.9 else dice.choice(_ODD_JSON)
            entries.append((client, clock, text))
        return frames.raw_awareness(entries)

    def state_vector(self) -> bytes:
        """A state vector, of anything."""
        dice = self.dice
        return frames.state_vector(
            (dice.choice((1, 2, 3, dice.randrange(2**53))), dice.choice((0, 1, 50, *_EDGES)))
            for _ in range(dice.choice((0, 1, 3, 100)))
        )

    def plain(self) -> bytes:
        """A message of the plain dialect."""
        makers: tuple[Callable[[], bytes], ...] = (
            lambda: frames.step1(self.state_vector()),
            lambda: frames.step2(self.update()),
            lambda: frames.update(self.update()),
            lambda: frames.update(self.bent(self.update())),
            self.awareness,
            lambda: b"\x01" + var_bytes(self.bent(self.awareness())[1:]),
            lambda: frames.QUERY_AWARENESS,
            lambda: frames.sync_status(b"x"),
            lambda: var_uint(self.dice.choice(_EDGES)) + var_bytes(b"y"),
            lambda: b"\x02\x00" + var_string("no"),
        )
        return self.dice.choice(makers)()

    def multiplexed(self, addresses: tuple[str, ...], tokens: tuple[str, ...]) -> bytes:
        """A message of the multiplexed dialect."""
        dice = self.dice
        address = dice.choice(addresses)
        kind = dice.randrange(12)
        if kind == 0:
            return muxframes.auth(address, dice.choice(tokens), dice.choice((None, "4.0.0")))
        if kind == 1:
            return muxframes.stateless(address, "{}" * dice.choice((1, 10, 10_000)))
        if kind == 2:
            return muxframes.close(address)
        if kind == 3:
            return dice.choice((b"\x09", b"\x0a"))
        if kind == 4:
            return muxframes.message(address, dice.choice((6, 8, 11, 200, 2**40)), var_string("z"))
        if kind == 5:
            return muxframes.message(address, 4, frames.step2(self.update())[1:])
        return var_string(address) + self.plain()

    def bent(self, data: bytes) -> bytes:
        """Some bytes of it otherwise: flipped, lost, doubled, cut off, exchanged for the edges of numbers."""
        dice = self.dice
        made = bytearray(data)
        for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
            at = dice.randrange(len(made) + 1)
            match dice.randrange(8):
                case 0 if made:
                    made[at % len(made)] ^= 1 << dice.randrange(8)
                case 1 if made:
                    made[at % len(made)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
                case 2:
                    del made[at : at + dice.choice((1, 1, 2, 10))]
                case 3:
                    made[at:at] = made[at : at + dice.choice((1, 2, 10, 100))]
                case 4:
                    del made[at:]
                case 5:
                    made[at : at + 1] = var_uint(dice.choice(_EDGES))
                case 6:
                    made[at:at] = dice.randbytes(dice.choice((1, 2, 8, 300)))
                case _:
                    other = dice.choice(self._updates)
                    made[at:] = other[dice.randrange(len(other)) :]
        return bytes(made[:_BYTES_MAX])


_ODD_JSON = (
    *("", "{", "nul", "NaN", "1e999", '"\\ud800"', "[" * 100, "-", "\x00", '{"a":1,"a":2}', "Infinity"),
    "[" * 5000 + "]" * 5000,
)


def _keystroke(dice: random.Random) -> bytes:
    doc: Doc[Any] = Doc(client_id=dice.randrange(1, 2**32))
    text = doc.get("notes", type=Text)
    text += "key"
    before = doc.get_state()
    text += dice.choice("abc😀\n")
    return doc.get_update(before)
