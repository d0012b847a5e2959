"""Reads what the other nodes say: one blocking read over all watched shards, on a link of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import hiredis

from collab_server.bus.door import code_of
from collab_server.bus.envelope import (
    BYE,
    HELLO,
    BadEntryError,
    Entry,
    StreamId,
    beginning_of,
    format_id,
    parse_id,
    unpack_entry,
    unpack_word,
)
from collab_server.bus.link import Link, command
from collab_server.bus.reading import Reading, Verdict
from collab_server.bus.state import BusState, SessionError

BLOCK_S = 2.0
"""How long one read waits for something to come; so long it also takes to notice a dead connection."""
REPLY_BYTES_AIM = 8 * 1024 * 1024
"""Replies that are larger make the next ones take fewer entries of each stream."""
ENTRIES_MAX = 256
BUSY_S = 0.002
"""Replies that follow each other faster than this are haste: then each read waits before it begins, so that
it brings more. A read costs every node and Redis more than what it brings, up to thousands of edits a second.
Who was quiet for longer hears the next word at once."""
PAUSE_S = 0.001
"""How long a read in haste waits: what a hop may take longer, for what it costs less."""
_BREATH_MESSAGES = 256
"""After so many messages the rest of the node gets its turn."""


class Reader:
    """The reading half of a session."""

    def __init__(self, state: BusState) -> None:
        self._state = state
        self._own = beginning_of(state.node)
        self._entries_max = ENTRIES_MAX
        self._since_breath = 0

    async def run(self, link: Link) -> None:
        """Read until cancelled.

        Raises:
            LinkError: The link or the server will not do any more.
        """
        state, keys = self._state, self._state.keys
        control, wake = keys.control.encode(), keys.own_wake.encode()
        replied_at = 0.0
        while True:
            readings = {
                keys.streams[shard]: reading
                for shard, reading in state.readings.items()
                if reading.position is not None and shard not in state.broken
            }
            positions = [state.control_position, state.wake_position]
            positions += [r.position for r in readings.values() if r.position is not None]
            request = command(
                *("XREAD", "COUNT", self._entries_max, "BLOCK", int(BLOCK_S * 1000), "STREAMS"),
                *(control, wake, *readings),
                *map(format_id, positions),
            )
            state.is_reader_asleep = True
            try:
                (reply,) = await link.call([request], BLOCK_S + state.settings.timeout_s)
            finally:
                state.is_reader_asleep = False
            if isinstance(reply, hiredis.ReplyError):
                await self._find_bad_streams(link, reply, readings)
            elif reply is not None:
                is_busy = state.clock() - replied_at < BUSY_S
                replied_at = state.clock()
                await self._take(reply, readings, control, wake)
                if is_busy:
                    await asyncio.sleep(PAUSE_S)
            state.tell_gone()

    async def _take(self, reply: Any, readings: dict[bytes, Reading], control: bytes, wake: bytes) -> None:
        state = self._state
        words: Sequence[Any] = ()
        size = 0
        for key, entries in reply:
            if key == wake:
                state.wake_position = parse_id(entries[-1][0])
            elif key == control:
                words = entries
            else:
                size += await self._take_shard(readings[key], entries)
        # What nodes say of themselves comes last: a goodbye stands behind what was said before it.
        for place, fields in words:
            state.control_position = parse_id(place)
            self._take_word(_data(fields))
        if size > REPLY_BYTES_AIM:
            self._entries_max = max(1, self._entries_max // 4)
        elif self._entries_max < ENTRIES_MAX and size < REPLY_BYTES_AIM // 4:
            self._entries_max *= 2

    async def _take_shard(self, reading: Reading, entries: Sequence[Any]) -> int:
        """Take what was read of a shard; returns its bytes."""
        state = self._state
        size = 0
        is_gap = False
        for raw_place, fields in entries:
            # The listener may stop to watch, or begin anew, at any of its messages.
            if state.readings.get(reading.shard) is not reading:
                return size
            place = parse_id(raw_place)
            reading.position = place
            reading.delay_ms = max(0.0, state.server_ms() - place[0])
            data = _data(fields)
            size += len(data)
            if data.startswith(self._own):
                continue
            try:
                entry = unpack_entry(data)
            except BadEntryError as error:
                is_gap = True
                self._count_bad(f"shard {reading.shard}", error)
                continue
            is_gap |= self._take_entry(reading, place, entry, len(data))
            if self._since_breath > _BREATH_MESSAGES:
                self._since_breath = 0
                await asyncio.sleep(0)
        if is_gap and state.readings.get(reading.shard) is reading:
            state.tell_gap(reading.shard)
        return size

    def _take_entry(self, reading: Reading, place: StreamId, entry: Entry, size: int) -> bool:
        """Pass an entry on; returns whether something before it is missing."""
        state = self._state
        verdict = reading.take(place, entry)
        if verdict is Verdict.KNOWN:
            return False
        state.peers.heard(entry.sender)
        state.meter.received(len(entry.messages), size, reading.delay_ms / 1000)
        self._since_breath += 1 + len(entry.messages)
        if entry.messages and state.teller is not None:
            state.teller.messages(reading.shard, entry.sender, entry.messages)
        return verdict is Verdict.GAP

    def _take_word(self, data: bytes) -> None:
        state = self._state
        try:
            word = unpack_word(data)
        except BadEntryError as error:
            self._count_bad("control", error)
            return
        if word.word == HELLO:
            state.peers.hello(word.node, state.clock())
        elif word.word == BYE:
            state.peers.bye(word.node, word.tails, state.clock())

    def _count_bad(self, stream: str, error: BadEntryError) -> None:
        self._state.meter.bad_entry()
        self._state.log_once(
            f"bad {stream}",
            "an entry of the bus cannot be read; it was skipped",
            stream=stream,
            error=str(error),
        )

    async def _find_bad_streams(
        self, link: Link, error: hiredis.ReplyError, readings: dict[bytes, Reading]
    ) -> None:
        """One stream that is none makes the whole read fail, and Redis does not say which."""
        if code_of(error) != "WRONGTYPE":
            raise SessionError(f"Redis refuses to read: {error}")
        state = self._state
        shards = [reading.shard for reading in readings.values()]
        types = await link.call([command("TYPE", key) for key in readings] or [command("PING")], BLOCK_S)
        bad = [shard for shard, kind in zip(shards, types, strict=False) if kind not in {b"stream", b"none"}]
        if not bad:
            raise SessionError(f"Redis refuses to read: a key of {state.settings.prefix}: is no stream")
        for shard in bad:
            state.break_shard(shard, "its key in Redis holds something else than a stream")


def _data(fields: Any) -> bytes:
    """The data of an entry: the value of its field ``e``; nothing that can be read, if there is none."""
    if isinstance(fields, list) and len(fields) == 2 and fields[0] == b"e" and isinstance(fields[1], bytes):
        return fields[1]
    return b""
