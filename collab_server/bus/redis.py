"""The bus on Redis Streams, for nodes on many machines. See ``base.Bus`` for what it promises.

- A stream for each shard. A node writes what it says in a turn as one entry, a pipeline at a time
  (``writer``), and reads all shards that it watches with one blocking read (``reader``).
- Watching begins with an entry of our own: everything behind its place in the stream will be read. It is
  written before, or together with, what is said after ``watch``, so that an answer to that is always heard.
- One *session* is two links to one server. When anything goes wrong with them, both are dropped, the
  listener has a gap in every shard that it watches, and a new session begins after a pause that grows.
- What concerns one stream only (its key is something else, an entry cannot be read) stays in its shard.

No wall clock of a node is used: places in the streams are the server's, waiting is by the loop's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

import structlog

from collab_server.bus.backoff import Backoff
from collab_server.bus.base import BusKind, BusListener, NodeId, ShardLag
from collab_server.bus.door import CredentialsError, Door, client_name
from collab_server.bus.link import Link, LinkError
from collab_server.bus.outbox import Outbox
from collab_server.bus.peers import Peers
from collab_server.bus.pulse import Pulse, agree
from collab_server.bus.reader import Reader
from collab_server.bus.reading import Reading
from collab_server.bus.settings import BusSettings
from collab_server.bus.shards import shard_of
from collab_server.bus.state import BusMeter, BusState, Keys
from collab_server.bus.telling import Teller
from collab_server.bus.writer import Writer
from collab_server.errors import BusConfigError

log = structlog.get_logger(__name__)

CLOSE_S = 1.0
"""How long a goodbye may take."""


class RedisBus:
    """One node's bus. ``clock`` is in seconds and never falls; ``random`` is between 0 and 1."""

    def __init__(
        self,
        settings: BusSettings,
        node: NodeId,
        meter: BusMeter,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._door = Door(settings.address, client_name(node), settings.timeout_s)
        outbox = Outbox(
            node,
            settings.shards_count,
            entry_bytes_max=settings.entry_bytes_max,
            queue_bytes_max=settings.queue_bytes_max,
            on_lost=self._on_lost,
            on_dropped=meter.dropped,
        )
        keys = Keys.of(settings.prefix, node, settings.shards_count)
        peers = Peers(node, settings.node_timeout_s)
        self._state = BusState(node, settings, keys, outbox, peers, meter, clock, random)
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._is_running = False
        self._has_turn = False
        self._down: str | None = "the bus is not connected yet"
        self._down_since: float | None = None
        """When the last session ended, or failed to begin; None before and during the first one."""

    @property
    def node(self) -> NodeId:
        """This node."""
        return self._state.node

    @property
    def shards_count(self) -> int:
        """How many shards there are."""
        return self._settings.shards_count

    @property
    def trouble(self) -> str | None:
        """Why other nodes may not hear this one."""
        state = self._state
        if self._down is not None:
            return f"the bus is away: {self._down}"
        if state.refused is not None:
            return f"the bus cannot write: {state.refused}"
        for shard, reason in {**state.outbox.lost, **state.broken}.items():
            return f"shard {shard} of the bus is away: {reason}"
        if state.peers.namesake is not None:
            return f"another node is called {state.node.name!r} too: give each its own node_name"
        return None

    @property
    def is_shared(self) -> bool:
        """There may always be others."""
        return True

    @property
    def queue_bytes(self) -> int:
        """What waits for Redis."""
        return self._state.outbox.size

    async def open(self, listener: BusListener) -> None:
        """Look whether the server will do, if it can be reached.

        Raises:
            BusConfigError: It will not, the nodes do not agree, or the password is wrong.
        """
        self._state.teller = Teller(listener)
        self._door.prepare()
        try:
            link = await self._door.open()
            try:
                await agree(self._state, link)
            finally:
                link.abort()
        except CredentialsError as error:
            raise BusConfigError(f"bus: {error}") from error
        except LinkError as error:
            self._down = str(error)
            self._down_since = self._state.clock()
            log.warning("the bus cannot be reached; it is tried again", reason=str(error))

    async def run(self) -> None:
        """Read, write and beat until closed or cancelled."""
        state = self._state
        backoff = Backoff(0.1, 5.0, state.random)
        self._is_running = True
        try:
            while not self._closing.is_set():
                try:
                    await self._session(backoff)
                except (LinkError, BusConfigError) as error:
                    self._lost_link(str(error))
                except Exception:
                    log.exception("the bus has failed; it begins again")
                    self._lost_link("it has failed inside; see the log")
                else:
                    return
                try:
                    async with asyncio.timeout(backoff.next_s()):
                        await self._closing.wait()
                except TimeoutError:
                    pass
        finally:
            self._is_running = False
            self._ended.set()

    async def close(self) -> None:
        """Say what is left to say, and goodbye, within a second."""
        if self._closing.is_set():
            return
        self._state.is_closing = True
        self._closing.set()
        self._state.wake.set()
        if self._is_running:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._ended.wait()
            except TimeoutError:
                log.warning("the bus could not say goodbye in time", bytes_unsaid=self.queue_bytes)
        self._state.teller = None

    def shard_of(self, room: str) -> int:
        """Where a room's messages travel."""
        return shard_of(room, self._settings.shards_count)

    def watch(self, shard: int) -> None:
        """Begin to listen to a shard, from now on."""
        state = self._state
        reading = state.readings.get(shard)
        if reading is not None:
            reading.watchers += 1
            return
        state.readings[shard] = reading = Reading(shard)
        # What is said there now is lost, so whoever watches must ask again later.
        reading.is_gap_owed = shard in state.outbox.lost
        state.outbox.mark(shard)
        self._state.wake.set()

    def unwatch(self, shard: int) -> None:
        """Stop to listen, when nobody else watches it."""
        reading = self._state.readings[shard]
        reading.watchers -= 1
        if reading.watchers <= 0:
            del self._state.readings[shard]

    def publish(self, room: str, kind: BusKind, data: bytes) -> None:
        """Tell the other nodes, soon."""
        state = self._state
        if state.is_closing:
            return
        if not self._has_turn:
            self._has_turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        state.outbox.add(self.shard_of(room), room, kind, data)

    def nodes(self) -> Sequence[NodeId]:
        """The other nodes that are alive, as far as is known."""
        return self._state.peers.nodes()

    def lag(self) -> Mapping[int, ShardLag]:
        """How far behind this node is, from what was read last and from the others' heartbeats."""
        state = self._state
        behind = dict.fromkeys(state.readings, 0)
        for node, tails in state.peers.tails().items():
            for shard, (seq, place) in tails.items():
                if (reading := state.readings.get(shard)) is not None:
                    behind[shard] += reading.behind(node, seq, place)
        return {
            shard: ShardLag(shard, state.readings[shard].delay_ms, entries)
            for shard, entries in behind.items()
        }

    # -- inside

    def _end_turn(self) -> None:
        self._has_turn = False
        self._state.outbox.next_turn()
        self._state.wake.set()

    def _on_lost(self, shard: int) -> None:
        self._state.owe_gap(shard)
        self._state.log_once(
            "lost", "what was to be said to other nodes is lost", reason=self._state.outbox.lost[shard]
        )

    def _lost_link(self, reason: str) -> None:
        if self._down is None or self._down_since is None:
            log.warning("the bus is away; rooms go on, and it is tried again", reason=reason)
            self._down_since = self._state.clock()
        elif self._down != reason:
            log.warning("the bus is still away", reason=reason)
        self._down = reason
        self._state.meter.lost_link()

    async def _session(self, backoff: Backoff) -> None:
        """One life of the links; returns when goodbye was said.

        Raises:
            LinkError: The session is over, or could not begin.
            BusConfigError: The server will not do.
        """
        state = self._state
        links: list[Link] = []
        try:
            links.append(await self._door.open())
            links.append(await self._door.open())
            writing, reading = links
            await agree(state, writing)
            pulse = Pulse(state)
            await pulse.begin(writing)
            self._begin_again()
            backoff.reset()
            writer, reader = Writer(state), Reader(state)
            await _until_first(writer.run(writing), reader.run(reading), pulse.run(writing))
        finally:
            for link in links:
                link.abort()

    def _begin_again(self) -> None:
        """Both links work: have every watched shard begin, and owe it a gap if there was a break."""
        state = self._state
        broken_s = state.clock() - self._down_since if self._down_since is not None else None
        for shard in list(state.outbox.lost):
            state.outbox.recover(shard)
        state.broken.clear()
        state.refused = None
        for shard, reading in state.readings.items():
            if broken_s is not None:
                reading.is_gap_owed = True
                # After a short break nothing is skipped; after a long one syncing the rooms is less work.
                reading.suspend(resumes=broken_s < self._settings.node_timeout_s)
            if reading.position is None:
                state.outbox.mark(shard)
        if broken_s is not None:
            log.info("the bus is back", away_s=round(broken_s, 1))
        self._down = self._down_since = None


async def _until_first(*works: Coroutine[None, None, None]) -> None:
    """Run several works until the first ends; raises what it raised. None of them is left behind."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for task, result in zip(tasks, results, strict=True):
        if task in done and isinstance(result, BaseException):
            raise result
