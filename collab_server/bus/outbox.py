"""What this node has said and Redis has not taken yet: by shard, in order, bounded in bytes. Pure.

A turn of the event loop stays together: an entry holds whole turns, as many as fit into
``entry_bytes_max``. A turn that is larger goes alone, in one entry; only one of more than
``ENTRY_MESSAGES_MAX`` messages is parted.

Over the bound the fullest shard loses all that waits in it, and what is said there is lost until
``recover``: its rooms will be synced, so there is no use in keeping half.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from collab_server.bus.base import BusKind, BusMessage, NodeId
from collab_server.bus.envelope import ENTRY_MESSAGES_MAX, START, StreamId, pack_entry

_MESSAGE_BYTES = 64
"""What a message takes besides its data and its room's name."""
_OVERFLOW = "more was to be said than bus_queue_bytes_max holds"


@dataclass(slots=True)
class Packed:
    """An entry on its way to Redis."""

    shard: int
    seq: int
    data: bytes
    size: int
    """What it counts in the queue."""
    messages_count: int
    is_mark: bool
    """Whether somebody waits to know its place in the stream."""
    refused_since: float | None = None
    """When a full server refused it first."""


@dataclass(slots=True)
class _Turn:
    number: int
    size: int = 0
    messages: list[BusMessage] = field(default_factory=list)
    is_mark: bool = False


@dataclass(slots=True)
class _Shard:
    turns: deque[_Turn] = field(default_factory=deque)
    packed: deque[Packed] = field(default_factory=deque)
    """Entries that were taken and came back; they go before the turns."""
    size: int = 0
    seq: int = 0
    said_seq: int = 0
    said_id: StreamId = START


class Outbox:
    """The queue of what is to be said. ``size`` is in bytes, counting what was taken and is not said yet."""

    def __init__(
        self,
        node: NodeId,
        shards_count: int,
        *,
        entry_bytes_max: int,
        queue_bytes_max: int,
        on_lost: Callable[[int], None],
        on_dropped: Callable[[int], None],
    ) -> None:
        """``on_lost`` is told of each shard that loses what waits in it, ``on_dropped`` of how much."""
        self._node = node
        self._entry_bytes_max = entry_bytes_max
        self._queue_bytes_max = queue_bytes_max
        self._shards = [_Shard() for _ in range(shards_count)]
        self._busy: dict[int, None] = {}
        """Shards with something to say, in the order in which they got it."""
        self._lost: dict[int, str] = {}
        self._on_lost = on_lost
        self._on_dropped = on_dropped
        self._turn = 0
        self.size = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return not self._busy

    def next_turn(self) -> None:
        """What is added from now on belongs to another turn."""
        self._turn += 1

    def add(self, shard: int, room: str, kind: BusKind, data: bytes) -> None:
        """Something to say."""
        size = len(data) + len(room) + _MESSAGE_BYTES
        # One message always finds room in an empty queue, whatever its size: it could never pass else.
        while self.size and self.size + size > self._queue_bytes_max and shard not in self._lost:
            waiting = {i: state.size for i, state in enumerate(self._shards) if i not in self._lost}
            fullest = max(waiting, key=waiting.__getitem__)
            self.lose(fullest if waiting[fullest] > size else shard, _OVERFLOW)
        if shard in self._lost:
            self._on_dropped(1)
            return
        state = self._shards[shard]
        turn = self._last_turn(shard, state)
        turn.messages.append(BusMessage(room, kind, data))
        turn.size += size
        state.size += size
        self.size += size

    def mark(self, shard: int) -> None:
        """Have an entry written, empty if need be, before what is added from now on."""
        if shard not in self._lost:
            self.next_turn()
            self._last_turn(shard, self._shards[shard]).is_mark = True

    def take(self, bytes_max: int) -> list[Packed]:
        """The next entries to write, at least one if there is any, and not many more bytes than given."""
        taken: list[Packed] = []
        size = 0
        for shard in list(self._busy):
            state = self._shards[shard]
            while (state.packed or state.turns) and (not taken or size < bytes_max):
                entry = state.packed.popleft() if state.packed else self._pack(shard, state)
                taken.append(entry)
                size += entry.size
            if not state.packed and not state.turns:
                del self._busy[shard]
            elif size >= bytes_max:
                # The others first, the next time.
                del self._busy[shard]
                self._busy[shard] = None
                break
        return taken

    def said(self, entry: Packed, place: StreamId) -> None:
        """An entry was written."""
        state = self._shards[entry.shard]
        state.said_seq, state.said_id = entry.seq, place
        self._release(state, entry.size)

    def put_back(self, entries: Iterable[Packed]) -> None:
        """Entries that were taken but not written, or nobody knows: they are next, in the same order."""
        for entry in reversed(list(entries)):
            state = self._shards[entry.shard]
            if entry.shard in self._lost:
                self._drop(state, entry.size, entry.messages_count)
                continue
            state.packed.appendleft(entry)
            self._busy[entry.shard] = None

    def dropped_entry(self, entry: Packed) -> None:
        """An entry that was taken will never be written."""
        self._drop(self._shards[entry.shard], entry.size, entry.messages_count)

    def lose(self, shard: int, reason: str) -> None:
        """Forget what waits in a shard, and what is said there until ``recover``."""
        state = self._shards[shard]
        for entry in state.packed:
            self._drop(state, entry.size, entry.messages_count)
        for turn in state.turns:
            self._drop(state, turn.size, len(turn.messages))
        state.packed.clear()
        state.turns.clear()
        self._busy.pop(shard, None)
        self._lost[shard] = reason
        self._on_lost(shard)

    def recover(self, shard: int) -> None:
        """Take what is said in a shard again."""
        self._lost.pop(shard, None)

    @property
    def lost(self) -> Mapping[int, str]:
        """The shards that have lost something and are not recovered, and why."""
        return self._lost

    def tails(self) -> dict[int, tuple[int, StreamId]]:
        """The last entry that was written in each shard, where there is one."""
        return {
            shard: (state.said_seq, state.said_id)
            for shard, state in enumerate(self._shards)
            if state.said_seq
        }

    # -- inside

    def _last_turn(self, shard: int, state: _Shard) -> _Turn:
        if not state.turns or state.turns[-1].number != self._turn:
            state.turns.append(_Turn(self._turn))
            self._busy[shard] = None
        return state.turns[-1]

    def _pack(self, shard: int, state: _Shard) -> Packed:
        turns = state.turns
        turn = turns.popleft()
        messages, size, is_mark = turn.messages, turn.size, turn.is_mark
        if len(messages) > ENTRY_MESSAGES_MAX:
            rest = _Turn(turn.number, messages=messages[ENTRY_MESSAGES_MAX:])
            messages = messages[:ENTRY_MESSAGES_MAX]
            rest.size = sum(len(m.data) + len(m.room) + _MESSAGE_BYTES for m in rest.messages)
            size -= rest.size
            turns.appendleft(rest)
        else:
            while (
                turns
                and size + turns[0].size <= self._entry_bytes_max
                and len(messages) + len(turns[0].messages) <= ENTRY_MESSAGES_MAX
            ):
                more = turns.popleft()
                messages += more.messages
                size += more.size
                is_mark = is_mark or more.is_mark
        state.seq += 1
        data = pack_entry(self._node, state.seq, state.said_seq, state.said_id, messages)
        return Packed(shard, state.seq, data, size, len(messages), is_mark)

    def _drop(self, state: _Shard, size: int, messages_count: int) -> None:
        self._on_dropped(messages_count)
        self._release(state, size)

    def _release(self, state: _Shard, size: int) -> None:
        state.size -= size
        self.size -= size
