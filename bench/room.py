"""What one keystroke costs a room: ``python -m bench.room``.

From the frame as it came to the flush that says who gets what, in microseconds, for rooms of several sizes,
and beside it what pycrdt takes to apply the same updates to one document. All in one process and one run,
because machines differ: trust the ratios.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

from pycrdt import Doc, Text

from collab_server.room.member import Member
from collab_server.room.room import Room
from collab_server.room.settings import RoomSettings
from collab_server.wire.sync import PLAIN, Update, decode
from collab_server.ydoc.log import DocumentLog

KEYSTROKES = 5_000
ROUNDS = 5
MEMBERS = (4, 10, 50)


def keystrokes(count: int) -> list[bytes]:
    """The updates of somebody who types."""
    doc: Doc[Text] = Doc(client_id=4_000_000_007)
    text = doc.get("text", type=Text)
    made: list[bytes] = []
    watching = doc.observe(lambda event: made.append(event.update))
    for number in range(count):
        text += "abcdefghij klmno pqrstuvwxyz"[number % 28]
    doc.unobserve(watching)
    return made


def room_of(members_count: int) -> tuple[Room, list[Member]]:
    """A room whose members are all synced."""
    room = Room("bench", DocumentLog(), RoomSettings())
    members = [Member(number, PLAIN) for number in range(members_count)]
    for member in members:
        room.join(member, 0.0)
        room.receive_step1(member, b"\x00", 0.0)
    return room, members


def through_a_room(members_count: int, frames: list[bytes], per_flush: int) -> float:
    """Seconds for all frames, with a flush and the frame that it is sent in after each ``per_flush``."""
    room, members = room_of(members_count)
    author = members[0]
    now = 0.0
    began = time.perf_counter()
    for number, frame in enumerate(frames, start=1):
        message = decode(frame)
        if isinstance(message, Update):
            room.receive_update(author, message.update, now)
        if number % per_flush == 0:
            now += 0.1
            flush = room.flush(now)
            if flush.update is not None:
                PLAIN.update(flush.update)
            room.next_due()
    return time.perf_counter() - began


def through_pycrdt(updates: list[bytes]) -> float:
    """Seconds to apply all updates to one document."""
    doc: Doc[Text] = Doc()
    doc.get("text", type=Text)
    began = time.perf_counter()
    for update in updates:
        doc.apply_update(update)
    return time.perf_counter() - began


def best_us(run: Callable[[], float]) -> tuple[float, float]:
    """The best and the median round, in microseconds for each keystroke."""
    rounds = [run() / KEYSTROKES * 1e6 for _ in range(ROUNDS)]
    return min(rounds), statistics.median(rounds)


def main() -> None:
    """Print the table."""
    updates = keystrokes(KEYSTROKES)
    frames = [PLAIN.update(update).data for update in updates]
    write = sys.stdout.write
    write(f"{'microseconds for each keystroke':44}{'best':>8}{'median':>8}\n")
    for members_count in MEMBERS:
        for per_flush in (1, 10):
            best, median = best_us(partial(through_a_room, members_count, frames, per_flush))
            name = f"room of {members_count}, {per_flush} to a flush"
            write(f"{name:44}{best:8.1f}{median:8.1f}\n")
    best, median = best_us(partial(through_pycrdt, updates))
    write(f"{'pycrdt apply_update':44}{best:8.1f}{median:8.1f}\n")


if __name__ == "__main__":
    main()
