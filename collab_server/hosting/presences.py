"""Who is in a room, on whichever node: for those who ask without being in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from collab_server.bus.base import Bus, BusKind, NodeId
from collab_server.errors import BusyError
from collab_server.hosting.host import Host
from collab_server.hosting.nodemessages import Seen, decode_presence, encode_presence
from collab_server.room.room import Room
from collab_server.wire.lib0 import encode_var_uint, read_var_uint

_GATHER_S = 0.03
"""How long after the first answer others are waited for: every node that hosts a room knows all who are in
it, but may not have heard the newest yet."""


class Presences:
    """Answers "who is here?" for any room, and puts that question to the other nodes."""

    def __init__(
        self,
        get_host: Callable[[str], Host | None],
        bus: Bus,
        *,
        answer_ms: float = 300.0,
        asked_max: int = 1_000,
        random: Callable[[], float],
    ) -> None:
        """``answer_ms``: how long other nodes may take. ``asked_max``: rooms that are asked for at once."""
        self._get_host = get_host
        self._bus = bus
        self._answer_s = answer_ms / 1000
        self._asked_max = asked_max
        self._random = random
        self._asked: dict[str, _Question] = {}

    async def here(self, room: str) -> Sequence[Seen]:
        """The clients that are in a room now, by client id.

        A room that is open on this node is answered from memory, any other by the nodes that have it open,
        within a bounded time; nobody is there if none of them answers. Raises BusyError when too many ask.
        """
        host = self._get_host(room)
        if host is not None:
            return self._seen(host.room)
        if not self._bus.is_shared or not self._bus.nodes():
            return []
        question = self._asked.get(room)
        if question is None:
            if len(self._asked) >= self._asked_max:
                raise BusyError("too many ask who is here")
            question = self._asked[room] = _Question(1 + int(self._random() * 2**48))
            task = asyncio.get_running_loop().create_task(self._ask(room, question), name=f"who is in {room}")
            question.task = task
        assert question.task is not None  # noqa: S101 - it was just made
        await asyncio.wait([question.task])
        return sorted(question.seen.values(), key=lambda seen: seen.client)

    async def close(self) -> None:
        """End what is being asked."""
        tasks = [question.task for question in self._asked.values() if question.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def answer(self, room: Room, data: bytes) -> None:
        """Tell another node who is here. Raises MalformedError."""
        number, _ = read_var_uint(data, 0)
        self._bus.publish(room.name, BusKind.PRESENCE_ANSWER, encode_presence(number, self._seen(room)))

    def receive(self, room: str, data: bytes) -> None:
        """Take another node's answer. Raises MalformedError."""
        question = self._asked.get(room)
        if question is None:
            return
        number, seen = decode_presence(data)
        if number != question.number:
            return
        for one in seen:
            known = question.seen.get(one.client)
            if known is None or one.clock > known.clock:
                question.seen[one.client] = one
        question.answered.set()

    async def _ask(self, room: str, question: _Question) -> None:
        bus = self._bus
        shard = bus.shard_of(room)
        bus.watch(shard)
        try:
            bus.publish(room, BusKind.PRESENCE_REQUEST, encode_var_uint(question.number))
            async with asyncio.timeout(self._answer_s):
                await question.answered.wait()
                await asyncio.sleep(_GATHER_S)
        except TimeoutError:
            pass  # nobody has it open, or the answer is too late: then what came by now is the answer
        finally:
            bus.unwatch(shard)
            del self._asked[room]

    def _seen(self, room: Room) -> list[Seen]:
        here = self._bus.node.name
        found = []
        for entry, node in room.presence.entries():
            name = here if node is None else node.name if isinstance(node, NodeId) else ""
            found.append(Seen(entry.client, entry.clock, entry.state or "null", name))
        found.sort(key=lambda seen: seen.client)
        return found


class _Question:
    """One room that was asked for, and what has been heard."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: dict[int, Seen] = {}
        self.answered = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
