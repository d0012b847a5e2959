"""The pace of reading. What is read is tried on real servers in ``tests/contract``, ``tests/adversity``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from collab_server.bus.base import BusKind, BusMessage, NodeId
from collab_server.bus.envelope import pack_entry
from collab_server.bus.link import LinkError, Reply
from collab_server.bus.reader import BUSY_S, PAUSE_S, Reader
from collab_server.bus.reading import Reading
from collab_server.bus.redis import RedisBus
from collab_server.bus.settings import BusSettings
from collab_server.bus.urls import parse_bus_url
from tests.contract.buses import CountingMeter

ME, OTHER = NodeId("me", 1), NodeId("other", 1)


class ScriptedLink:
    """Answers each read at a given time, then breaks."""

    def __init__(self, times_s: Sequence[float], sender: NodeId) -> None:
        self.now = 0.0
        self._times_s = iter(times_s)
        self._sender = sender
        self._seq = 0

    async def call(self, commands: Sequence[bytes], quiet_max_s: float) -> list[Reply]:
        self.now = next(self._times_s, -1.0)
        if self.now < 0:
            raise LinkError("the script is over")
        self._seq += 1
        message = BusMessage("trip", BusKind.UPDATE, b"x")
        entry = pack_entry(self._sender, self._seq, self._seq - 1, (1, self._seq - 1), [message])
        return [[[b"collab:shard:0", [[b"1-%d" % self._seq, [b"e", entry]]]]]]


async def read(
    monkeypatch: pytest.MonkeyPatch, times_s: Sequence[float], sender: NodeId = OTHER
) -> tuple[list[tuple[float, float]], CountingMeter]:
    """When the reader paused and for how long, and what it counted."""
    link, meter = ScriptedLink(times_s, sender), CountingMeter()
    settings = BusSettings(parse_bus_url("redis://nowhere"), shards_count=1)
    state = RedisBus(settings, ME, meter, clock=lambda: link.now, random=lambda: 0.5)._state
    pauses: list[tuple[float, float]] = []

    async def sleep(delay_s: float) -> None:
        if delay_s:
            pauses.append((link.now, delay_s))

    state.readings[0] = Reading(0)
    state.readings[0].begin((1, 0))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(LinkError, match="the script is over"):
        await Reader(state).run(cast(Any, link))
    return pauses, meter


async def test_what_comes_after_quiet_is_read_at_once_and_what_comes_in_haste_is_read_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses, meter = await read(monkeypatch, [1.0, 1.0 + BUSY_S / 2, 1.0 + BUSY_S * 3, 2.0, 2.0 + BUSY_S / 4])
    assert pauses == [(1.0 + BUSY_S / 2, PAUSE_S), (2.0 + BUSY_S / 4, PAUSE_S)]
    assert meter.messages_received == 5


async def test_a_nodes_own_words_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    _, meter = await read(monkeypatch, [1.0, 2.0], ME)
    assert (meter.messages_received, meter.bad_entries) == (0, 0)
    _, meter = await read(monkeypatch, [1.0, 2.0], NodeId("me", 2))
    assert meter.messages_received == 2
