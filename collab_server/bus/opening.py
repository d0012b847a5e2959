"""The bus that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable

from collab_server.bus.base import Bus, NodeId
from collab_server.bus.counters import RedisCounts
from collab_server.bus.memory import MemoryBus
from collab_server.bus.redis import RedisBus
from collab_server.bus.settings import BusSettings
from collab_server.bus.state import BusMeter


def open_bus(
    settings: BusSettings | None,
    node: NodeId,
    meter: BusMeter,
    *,
    clock: Callable[[], float],
    random: Callable[[], float],
) -> Bus:
    """A bus, not yet opened: on Redis, or, without settings, the memory bus of a node that is alone."""
    if settings is None:
        return MemoryBus(name=node.name, incarnation=node.incarnation)
    return RedisBus(settings, node, meter, clock=clock, random=random)


def open_counts(settings: BusSettings | None, *, clock: Callable[[], float]) -> RedisCounts | None:
    """Counts that all nodes add to; None for a node that is alone."""
    return None if settings is None else RedisCounts(settings, clock=clock)
