"""What nodes write into a stream: one entry for what was said in one or more turns, as msgpack.

An entry is ``[version, name, incarnation, seq, prev_seq, prev_ms, prev_n, runs]``. ``seq`` numbers the
sender's entries of this shard from 1; ``prev_*`` is the last of its entries whose place in the stream it
knows. A run is ``[room, kind, data, kind, data, ...]``. Entries of the control stream are
``[version, word, name, incarnation, tails]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]

from collab_server.bus.base import BusKind, BusMessage, NodeId

VERSION = 1
ENTRY_MESSAGES_MAX = 16_384
"""Messages in one entry: a bound for who decodes it."""
_PARTS_MAX = 4 * ENTRY_MESSAGES_MAX
_ROOM_BYTES_MAX = 1 << 16
_DATA_BYTES_MAX = 1 << 30

StreamId = tuple[int, int]
"""A place in a stream: milliseconds of the server's clock, and a number within them."""
START: StreamId = (0, 0)

Tails = Mapping[int, tuple[int, StreamId]]
"""For each shard, the number and the place of the last entry that a node wrote."""

HELLO = "hello"
BYE = "bye"


class BadEntryError(Exception):
    """An entry that cannot be read. One line."""


class ForeignVersionError(BadEntryError):
    """An entry of a version that this one does not know."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one node said in one shard, as it was read."""

    sender: NodeId
    seq: int
    prev_seq: int
    prev_id: StreamId
    messages: list[BusMessage]


@dataclass(frozen=True, slots=True)
class Word:
    """What a node said of itself."""

    word: str
    node: NodeId
    tails: Tails


def parse_id(data: bytes) -> StreamId:
    """A place in a stream from ``b"1700000000000-3"``.

    Raises:
        ValueError: It is none.
    """
    ms, _, n = data.partition(b"-")
    return int(ms), int(n)


def format_id(place: StreamId) -> bytes:
    """The opposite of ``parse_id``."""
    return b"%d-%d" % place


def pack_entry(
    node: NodeId, seq: int, prev_seq: int, prev_id: StreamId, messages: Sequence[BusMessage]
) -> bytes:
    """An entry as it is written."""
    runs: list[list[Any]] = []
    room: str | None = None
    for message in messages:
        if message.room == room:
            runs[-1] += (message.kind, message.data)
        else:
            room = message.room
            runs.append([room, message.kind, message.data])
    header = (VERSION, node.name, node.incarnation, seq, prev_seq, *prev_id, runs)
    return bytes(msgpack.packb(header, unicode_errors="surrogatepass"))


def beginning_of(node: NodeId) -> bytes:
    """What every entry of this life of a node begins with, and no other: msgpack values end by themselves."""
    after_sender = 5  # seq, prev_seq, prev_ms, prev_n and no runs: a byte each
    return pack_entry(node, 0, 0, START, ())[:-after_sender]


def unpack_entry(data: bytes) -> Entry:
    """An entry as it was read. Kinds that this version does not know are left out.

    Raises:
        BadEntryError: It is none; ForeignVersionError if it is one of another version.
    """
    parts = _unpack(data)
    match parts:
        case [
            int(),
            str() as name,
            int() as incarnation,
            int() as seq,
            int() as prev_seq,
            int(),
            int(),
            [*runs],
        ]:
            messages = [message for run in runs for message in _messages(run)]
            return Entry(NodeId(name, incarnation), seq, prev_seq, (parts[5], parts[6]), messages)
    raise BadEntryError("the parts of the entry are not what they should be")


def pack_word(word: str, node: NodeId, tails: Tails) -> bytes:
    """An entry of the control stream."""
    return bytes(msgpack.packb((VERSION, word, node.name, node.incarnation, _flat(tails))))


def unpack_word(data: bytes) -> Word:
    """What a node said of itself.

    Raises:
        BadEntryError: It is no such entry; ForeignVersionError if it is one of another version.
    """
    match _unpack(data):
        case [int(), str() as word, str() as name, int() as incarnation, [*tails]]:
            return Word(word, NodeId(name, incarnation), _tails(tails))
    raise BadEntryError("the parts of the word are not what they should be")


def pack_tails(tails: Tails) -> bytes:
    """What a heartbeat says."""
    return bytes(msgpack.packb((VERSION, _flat(tails))))


def unpack_tails(data: bytes) -> Tails:
    """What a heartbeat says.

    Raises:
        BadEntryError: It says nothing that can be read.
    """
    match _unpack(data):
        case [int(), [*tails]]:
            return _tails(tails)
    raise BadEntryError("the parts of the heartbeat are not what they should be")


def _unpack(data: bytes) -> list[Any]:
    try:
        parts = msgpack.unpackb(
            data,
            unicode_errors="surrogatepass",
            max_array_len=_PARTS_MAX,
            max_map_len=0,
            max_ext_len=0,
            max_bin_len=_DATA_BYTES_MAX,
            max_str_len=_ROOM_BYTES_MAX,
        )
    except Exception as error:  # msgpack raises ValueError, its own, RecursionError, UnicodeDecodeError ...
        raise BadEntryError(f"no msgpack: {error}") from error
    if not isinstance(parts, list) or not parts:
        raise BadEntryError("no entry")
    if parts[0] != VERSION:
        raise ForeignVersionError(f"version {parts[0]!r:.40}, and this node knows {VERSION}")
    return parts


_KINDS = {int(kind): kind for kind in BusKind}


def _messages(run: Any) -> list[BusMessage]:
    if not isinstance(run, list) or len(run) % 2 == 0 or not isinstance(run[0], str):
        raise BadEntryError("a run of messages is not what it should be")
    room = run[0]
    messages = []
    for number, data in zip(run[1::2], run[2::2], strict=True):
        if not isinstance(number, int) or not isinstance(data, bytes):
            raise BadEntryError("a message is not what it should be")
        kind = _KINDS.get(number)
        if kind is not None:
            messages.append(BusMessage(room, kind, data))
    return messages


def _flat(tails: Tails) -> list[int]:
    return [number for shard, (seq, (ms, n)) in tails.items() for number in (shard, seq, ms, n)]


def _tails(flat: list[Any]) -> Tails:
    if len(flat) % 4 or not all(isinstance(number, int) for number in flat):
        raise BadEntryError("the places of the last entries are not what they should be")
    return {flat[i]: (flat[i + 1], (flat[i + 2], flat[i + 3])) for i in range(0, len(flat), 4)}
