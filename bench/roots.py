"""What narrowed rights cost: ``python -m bench.roots``.

CPU time of a keystroke on its way through a room, from the frame to the flush: by somebody who may write
everywhere, with nobody narrowed in the room; by the same with somebody narrowed there; and by somebody
narrowed. Then the index of a large document: how long it takes to build, in slices and in one go, and its
memory. The rounds of the first three are interleaved, because machines are noisy: trust the ratios.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
import tracemalloc

from bench.room import keystrokes
from collab_server.room.member import Member
from collab_server.room.room import Room
from collab_server.room.settings import RoomSettings
from collab_server.wire.lib0 import encode_var_string, encode_var_uint
from collab_server.wire.sync import PLAIN, Update, decode
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.roots import RootIndex

KEYSTROKES = 5_000
ROUNDS = 9
MEMBERS = 4
ITEMS = 80_000
PEOPLE = 20
SLICE_STRUCTS = 2_000

_EVERYWHERE = None
_SOMEWHERE = frozenset({"text"})
_KINDS = (
    ("an editor, nobody narrowed", _EVERYWHERE, _EVERYWHERE),
    ("an editor, somebody narrowed", _EVERYWHERE, _SOMEWHERE),
    ("somebody narrowed", _SOMEWHERE, _SOMEWHERE),
)


def through_a_room(frames: list[bytes], roots: frozenset[str] | None, others: frozenset[str] | None) -> float:
    """CPU seconds for all frames, each flushed."""
    room = Room("bench", DocumentLog(), RoomSettings())
    author = Member(0, PLAIN, writable_roots=roots)
    rest = [Member(number, PLAIN, writable_roots=others) for number in range(1, MEMBERS)]
    for member in (author, *rest):
        room.join(member, 0.0)
        room.receive_step1(member, b"\x00", 0.0)
    now = 0.0
    gc.collect()
    began = time.process_time()
    for frame in frames:
        message = decode(frame)
        if isinstance(message, Update):
            room.receive_update(author, message.update, now, is_answer=False)
        now += 0.1
        flush = room.flush(now)
        if flush.update is not None:
            PLAIN.update(flush.update)
        room.next_due()
    return time.process_time() - began


def large_document() -> bytes:
    """Many small maps, each with a title and some values, by several people who took turns."""
    people: list[list[bytes]] = [[] for _ in range(PEOPLE)]
    clocks = [0] * PEOPLE
    last: tuple[int, int] | None = None
    word = encode_var_string("a line of a trip that somebody has written down")
    for number in range(ITEMS):
        person = number // 7 % PEOPLE
        own, clock = people[person], clocks[person]
        client = encode_var_uint(10**9 + person)
        holder = b"\x00" + client + encode_var_uint(clock)
        if last is None:
            own.append(b"\x07\x01" + encode_var_string("itinerary") + b"\x01")
        else:
            own.append(b"\x87" + encode_var_uint(last[0]) + encode_var_uint(last[1]) + b"\x01")
        own.extend(b"\x28" + holder + encode_var_string(key) + b"\x01\x77" + word for key in ("a", "b", "c"))
        own.append(b"\x27" + holder + encode_var_string("title") + b"\x02")
        own.append(b"\x04\x00" + client + encode_var_uint(clock + 4) + word)
        last = (10**9 + person, clock)
        clocks[person] += 5 + len(word) - 1
    parts = [encode_var_uint(PEOPLE)]
    for person in reversed(range(PEOPLE)):
        parts.append(encode_var_uint(len(people[person])) + encode_var_uint(10**9 + person) + b"\x00")
        parts += people[person]
    return b"".join([*parts, b"\x00"])


def build(log: DocumentLog) -> tuple[float, float, int]:
    """CPU seconds for the whole index and for the longest slice of it, and bytes that it takes."""
    gc.collect()
    index = RootIndex(log)
    longest = total = 0.0
    while index.is_behind:
        began = time.process_time()
        index.keep_up(SLICE_STRUCTS)
        took = time.process_time() - began
        longest, total = max(longest, took), total + took
    index.close()
    tracemalloc.start()
    index = RootIndex(log)
    index.keep_up()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return total, longest, held


def main() -> None:
    """Print the tables."""
    write = sys.stdout.write
    frames = [PLAIN.update(update).data for update in keystrokes(KEYSTROKES)]
    took: dict[str, list[float]] = {name: [] for name, _, _ in _KINDS}
    for _ in range(ROUNDS):
        for name, roots, others in _KINDS:
            took[name].append(through_a_room(frames, roots, others) / KEYSTROKES * 1e6)
    write(f"{'CPU microseconds for each keystroke by':44}{'best':>8}{'median':>8}\n")
    for name, rounds in took.items():
        write(f"{name:44}{min(rounds):8.2f}{statistics.median(rounds):8.2f}\n")
    document = large_document()
    log = DocumentLog.open(document, b"", ())
    total, longest, held = build(log)
    write(
        f"the index of {len(document) / 1e6:.1f} MB in {ITEMS * 6} structs: {total:.2f} s, "
        f"the longest slice {longest * 1e3:.1f} ms, {held / 1e6:.2f} MB\n"
    )


if __name__ == "__main__":
    main()
