"""The heartbeat: says that this node lives, looks who else does, and keeps what is in Redis small."""

from __future__ import annotations

import asyncio

import hiredis
import structlog

from collab_server.bus.base import NodeId
from collab_server.bus.door import code_of
from collab_server.bus.envelope import (
    HELLO,
    START,
    BadEntryError,
    Tails,
    pack_tails,
    pack_word,
    parse_id,
    unpack_tails,
)
from collab_server.bus.link import Link, Reply, command
from collab_server.bus.state import BusState, SessionError, member_of, node_of
from collab_server.bus.writer import CONTROL_ENTRIES_MAX
from collab_server.errors import BusConfigError

log = structlog.get_logger(__name__)

CONFIG_LIFE_S = 60
"""How long Redis remembers what the nodes have agreed on, when none of them is left."""
STREAM_LIFE_S = 3600
"""How long Redis keeps a stream that nobody writes any more."""
WIRE_VERSION = 1


async def agree(state: BusState, link: Link) -> None:
    """Look whether the nodes that are there have the same shards; the first one says how many.

    Raises:
        BusConfigError: They have not.
        LinkError: It cannot be said now.
    """
    settings, key = state.settings, state.keys.config
    ours = f"v{WIRE_VERSION} shards={settings.shards_count}"
    made, found = await link.call(
        [command("SET", key, ours, "NX", "EX", CONFIG_LIFE_S), command("GET", key)], settings.timeout_s
    )
    if isinstance(found, hiredis.ReplyError):
        raise SessionError(f"Redis refuses to read {key}: {found}")
    theirs = found.decode(errors="replace") if isinstance(found, bytes) else ""
    if theirs and theirs != ours:
        raise BusConfigError(
            f"the nodes of this Redis say {theirs!r:.60} and this one says {ours!r} (key {key}): give all "
            "nodes the same bus_shards, or this one another bus_prefix; "
            f"to change it, stop all of them for {CONFIG_LIFE_S} s"
        )
    if isinstance(made, hiredis.ReplyError):
        raise SessionError(f"Redis refuses to write: {made}")


class Pulse:
    """The beating part of a session."""

    def __init__(self, state: BusState) -> None:
        self._state = state
        settings = state.settings
        # After a node's death its key must be gone, and some heartbeat must have seen that, in time.
        self._life_ms = round((settings.node_timeout_s - settings.heartbeat_s) * 1000)

    async def begin(self, link: Link) -> None:
        """Say hello, and meet who is here.

        Raises:
            LinkError: It cannot be said.
        """
        state, keys = self._state, self._state.keys
        replies = await link.call(
            [
                command("DEL", keys.own_wake),
                self._beat_command(),
                command("SADD", keys.nodes, member_of(state.node)),
                self._hello_command(),
            ],
            state.settings.timeout_s,
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise SessionError(f"Redis refuses to write: {reply}")
        if isinstance(replies[3], bytes):
            state.control_position = parse_id(replies[3])
        state.wake_position = START
        state.peers.linked(state.clock())
        await self._look(link)

    async def run(self, link: Link) -> None:
        """Beat until cancelled.

        Raises:
            LinkError: The link or the server will not do any more.
        """
        state, settings = self._state, self._state.settings
        while True:
            await asyncio.sleep(settings.heartbeat_s * (0.9 + 0.2 * state.random()))
            await self._beat(link)
            await self._look(link)
            await self._tidy(link)

    # -- inside

    def _beat_command(self) -> bytes:
        state = self._state
        return command("SET", state.keys.own_beat, pack_tails(state.outbox.tails()), "PX", self._life_ms)

    def _hello_command(self) -> bytes:
        state = self._state
        word = pack_word(HELLO, state.node, {})
        return command("XADD", state.keys.control, "MAXLEN", "~", CONTROL_ENTRIES_MAX, "*", "e", word)

    async def _beat(self, link: Link) -> None:
        state, keys, settings = self._state, self._state.keys, self._state.settings
        began = state.clock()
        # PEXPIRE works on a full server too, where SET does not.
        alive, agreed, beaten, now = await link.call(
            [
                command("PEXPIRE", keys.own_beat, self._life_ms),
                command("EXPIRE", keys.config, CONFIG_LIFE_S),
                self._beat_command(),
                command("TIME"),
            ],
            settings.timeout_s,
        )
        self._set_clock(now, began)
        for reply in (alive, agreed, beaten):
            if isinstance(reply, hiredis.ReplyError) and code_of(reply) not in {"OOM", "MISCONF"}:
                raise SessionError(f"Redis refuses: {reply}")
        if agreed == 0:
            raise SessionError("Redis has lost its data")
        if alive == 0:
            # The others have taken us for dead, and have forgotten our users.
            log.warning("this node was late with its heartbeat, and the others took it for dead")
            await link.call(
                [command("SADD", keys.nodes, member_of(state.node)), self._hello_command()],
                settings.timeout_s,
            )
            for shard in list(state.readings):
                state.tell_gap(shard)

    async def _look(self, link: Link) -> None:
        """See who is alive, and whether something of theirs was passed by."""
        state, keys, settings = self._state, self._state.keys, self._state.settings
        (members,) = await link.call([command("SMEMBERS", keys.nodes)], settings.timeout_s)
        if isinstance(members, hiredis.ReplyError):
            raise SessionError(f"Redis refuses to read {keys.nodes}: {members}")
        found: dict[NodeId, Tails | None] = {}
        strange: list[bytes] = []
        nodes: list[NodeId] = []
        for member in members if isinstance(members, list) else []:
            node = node_of(member) if isinstance(member, bytes) else None
            if node is not None:
                nodes.append(node)
            elif isinstance(member, bytes):
                strange.append(member)
        if nodes:
            wanted = command("MGET", *(keys.beat_prefix + member_of(node) for node in nodes))
            (beats,) = await link.call([wanted], settings.timeout_s)
            if isinstance(beats, list):
                found = {node: _tails(beat) for node, beat in zip(nodes, beats, strict=True)}
        dead = [member_of(node).encode() for node, tails in found.items() if tails is None]
        if dead or strange:
            await link.call([command("SREM", keys.nodes, *dead, *strange)], settings.timeout_s)
        state.peers.beat(found, state.clock())
        if state.peers.namesake is not None:
            state.log_once(
                "namesake",
                "another node has the same name: give each its own node_name",
                name=state.node.name,
            )
        self._find_losses()
        state.tell_gone()

    def _find_losses(self) -> None:
        """Compare what the others say that they have written with what was read."""
        state = self._state
        missed = {
            shard
            for node, tails in state.peers.tails().items()
            for shard, (seq, place) in tails.items()
            if (reading := state.readings.get(shard)) is not None and reading.misses(node, seq, place)
        }
        for shard in missed:
            # It may be that the stream was made anew, with places before the one that we wait behind.
            state.readings[shard].suspend(resumes=True)
            state.readings[shard].is_gap_owed = True
            state.outbox.mark(shard)
            state.wake.set()

    async def _tidy(self, link: Link) -> None:
        state, settings = self._state, self._state.settings
        commands = [
            command("EXPIRE", key, STREAM_LIFE_S) for key in (state.keys.own_wake, state.keys.control)
        ]
        oldest = max(0, round(state.server_ms() - settings.stream_age_max_s * 1000))
        written, state.written = state.written, set()
        for shard in written:
            key = state.keys.streams[shard]
            commands += [command("XTRIM", key, "MINID", "~", oldest), command("EXPIRE", key, STREAM_LIFE_S)]
        # What a stream answers that is none is the writer's and the reader's to see.
        await link.call(commands, settings.timeout_s)

    def _set_clock(self, now: Reply, began: float) -> None:
        """Learn how the server's clock differs from ours; half of the way there and back is the error."""
        match now:
            case [bytes() as seconds, bytes() as microseconds]:
                server_ms = int(seconds) * 1000 + int(microseconds) / 1000
                state = self._state
                state.clock_offset_ms = server_ms - (began + state.clock()) / 2 * 1000


def _tails(beat: Reply) -> Tails | None:
    """What a heartbeat says; None if there is none."""
    if not isinstance(beat, bytes):
        return None
    try:
        return unpack_tails(beat)
    except BadEntryError:
        return {}
