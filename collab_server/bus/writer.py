"""Writes what this node says: one pipeline in flight, and whatever is said meanwhile is the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import hiredis

from collab_server.bus.backoff import Backoff
from collab_server.bus.door import code_of
from collab_server.bus.envelope import BYE, pack_word, parse_id
from collab_server.bus.link import Link, Reply, command
from collab_server.bus.outbox import Packed
from collab_server.bus.state import BusState, SessionError, member_of, stream_command, with_data

PIPELINE_BYTES_MAX = 4 * 1024 * 1024
"""About how much goes into one pipeline; more waits for its answers."""
CONTROL_ENTRIES_MAX = 1_000
_FULL_CODES = frozenset({"OOM", "MISCONF", "BUSY", "NOREPLICAS", "TRYAGAIN"})
"""Errors of a server that may take the same command later."""
_SHARD_CODES = frozenset({"WRONGTYPE", "ERR"})
"""Errors that speak of one stream: it is another type, or its numbers are at their end."""
_LOST_RETRY_S = 0.1


class Writer:
    """The writing half of a session."""

    def __init__(self, state: BusState) -> None:
        self._state = state
        entries_max = state.settings.stream_entries_max_approx
        self._beginnings = [stream_command(key, entries_max) for key in state.keys.streams]
        self._wake_command = command("XADD", state.keys.own_wake, "MAXLEN", 1, "*", "e", "")
        self._retry = Backoff(0.05, 2.0, state.random)
        self._lost_until = 0.0

    async def run(self, link: Link) -> None:
        """Write until the bus is closing and everything is said.

        Raises:
            LinkError: The link or the server will not do any more; what was not said is kept.
        """
        state = self._state
        while True:
            await self._until_something_to_do()
            self._recover_lost()
            entries = state.outbox.take(PIPELINE_BYTES_MAX)
            if entries or state.is_wake_wanted:
                if not await self._write(link, entries):
                    await asyncio.sleep(self._retry.next_s())
            elif state.is_closing:
                await self._say_goodbye(link)
                return

    async def _until_something_to_do(self) -> None:
        state = self._state
        if not state.outbox.is_empty or state.is_wake_wanted or state.is_closing:
            return
        state.wake.clear()
        if not state.outbox.lost:
            await state.wake.wait()
            return
        pause_s = max(0.001, self._lost_until - state.clock())
        try:
            async with asyncio.timeout(pause_s):
                await state.wake.wait()
        except TimeoutError:
            return

    def _recover_lost(self) -> None:
        """Try again, from time to time, the shards that have lost something."""
        state = self._state
        if not state.outbox.lost or state.refused is not None or state.clock() < self._lost_until:
            return
        self._lost_until = state.clock() + (state.settings.heartbeat_s if state.broken else _LOST_RETRY_S)
        for shard in list(state.outbox.lost):
            state.recover(shard)

    async def _write(self, link: Link, entries: Sequence[Packed]) -> bool:
        """Write entries; False if the server would not take some of them now."""
        state = self._state
        commands = [with_data(self._beginnings[entry.shard], entry.data) for entry in entries]
        if state.is_wake_wanted:
            state.is_wake_wanted = False
            if state.is_reader_asleep:
                commands.append(self._wake_command)
            elif not entries:
                return True
        began = state.clock()
        try:
            replies = await link.call(commands, state.settings.timeout_s)
        except BaseException:
            state.outbox.put_back(entries)
            raise
        return self._settle(entries, replies, state.clock() - began)

    def _settle(self, entries: Sequence[Packed], replies: Sequence[Reply], seconds: float) -> bool:
        state, outbox = self._state, self._state.outbox
        refused: list[Packed] = []
        said = bytes_count = messages_count = 0
        fault: SessionError | None = None
        # A wake has no entry, and nobody minds its answer.
        for entry, reply in zip(entries, replies, strict=False):
            if isinstance(reply, bytes):
                place = parse_id(reply)
                outbox.said(entry, place)
                state.written.add(entry.shard)
                said += 1
                bytes_count += len(entry.data)
                messages_count += entry.messages_count
                if entry.is_mark or entry.shard in state.broken:
                    state.begin_reading(entry.shard, place)
                continue
            if not isinstance(reply, hiredis.ReplyError):
                fault = SessionError("Redis answers with what is no answer")
                refused.append(entry)
            elif code_of(reply) in _SHARD_CODES:
                outbox.dropped_entry(entry)
                state.break_shard(entry.shard, f"Redis refuses to write the stream: {reply}")
                self._lost_until = state.clock() + state.settings.heartbeat_s
            else:
                refused.append(entry)
                if code_of(reply) in _FULL_CODES:
                    state.refused = f"Redis refuses to write: {reply}"
                else:
                    fault = SessionError(f"Redis refuses to write: {reply}")
        state.meter.sent(said, messages_count, bytes_count, seconds)
        outbox.put_back(refused)
        if fault is not None:
            raise fault
        if not refused:
            state.refused = None
            state.log_again("refused")
            self._retry.reset()
            return True
        self._give_up(refused)
        return False

    def _give_up(self, refused: Sequence[Packed]) -> None:
        """Entries that a full server has refused for long are lost, so that smaller ones get their chance."""
        state = self._state
        state.log_once("refused", "the bus cannot write", reason=state.refused)
        now = state.clock()
        for entry in refused:
            if entry.is_mark:
                state.owe_gap(entry.shard)
            if entry.refused_since is None:
                entry.refused_since = now
            elif now - entry.refused_since > state.settings.node_timeout_s:
                state.outbox.lose(entry.shard, state.refused or "")
                state.refused = None

    async def _say_goodbye(self, link: Link) -> None:
        state, keys = self._state, self._state.keys
        word = pack_word(BYE, state.node, state.outbox.tails())
        await link.call(
            [
                command("DEL", keys.own_beat, keys.own_wake),
                command("SREM", keys.nodes, member_of(state.node)),
                command("XADD", keys.control, "MAXLEN", "~", CONTROL_ENTRIES_MAX, "*", "e", word),
            ],
            state.settings.timeout_s,
        )
