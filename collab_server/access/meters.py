"""Rates by key: per address, per user, per room. Bounded, and shared with other nodes where there are any.

Pure but for ``LimitSharing``, which waits for the other nodes' counts.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

from collab_server.access.limits import Pace


class SharedCounts(Protocol):
    """Counts that all nodes add to.

    They are hints: additions may be lost, and a key that nobody has added to for a minute may be forgotten.
    """

    async def add(self, used: Mapping[str, int]) -> Mapping[str, int]:
        """Add to the counts; the totals of the same keys over all nodes, since they were first known.

        A key is short and holds no address or name. Returns in bounded time; an empty mapping while the other
        nodes cannot be reached, and then it does not matter whether anything was added.
        """
        ...


class Meter:
    """One rate for each key: a ``Pace`` for those that were seen lately.

    At most ``keys_max`` are kept; the one that was quiet for longest is forgotten first, and begins anew with
    a full burst when it comes back.
    """

    def __init__(self, name: str, rate_max_per_s: float, burst_max: float, keys_max: int) -> None:
        """``rate_max_per_s`` 0 is no limit. ``name`` tells this meter's keys from others' between nodes."""
        self.name = name
        self.used: dict[str, float] = {}
        """What was taken since the last ``take_used``, by key; as bounded as the paces."""
        self._rate_max_per_s = rate_max_per_s
        self._burst_max = burst_max
        self._keys_max = keys_max
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paces)

    @property
    def limits(self) -> bool:
        """Whether there is a limit at all."""
        return self._rate_max_per_s > 0

    def take(self, key: str, now: float, amount: float = 1.0) -> float:
        """Take from the key's allowance, on credit if need be; seconds until that is paid back."""
        if not self.limits:
            return 0.0
        if key in self.used or len(self.used) < self._keys_max:
            self.used[key] = self.used.get(key, 0.0) + amount
        return self._pace(key, now).take(now, amount)

    def try_take(self, key: str, now: float) -> bool:
        """Take one if the key has it; nothing is taken on credit."""
        if not self.limits:
            return True
        if self.owes(key, now):
            return False
        self.take(key, now)
        return True

    def owes(self, key: str, now: float) -> bool:
        """Whether the key's allowance is used up just now."""
        pace = self._paces.get(key)
        return pace is not None and pace.available(now) < 1.0

    def strained_s(self, key: str, now: float) -> float:
        """For how long the key has been over its rate without a breath of a second."""
        pace = self._paces.get(key)
        return 0.0 if pace is None else pace.strained_s(now)

    def charge(self, key: str, now: float, amount: float) -> None:
        """Count what the key used on other nodes."""
        if self.limits:
            self._pace(key, now).take(now, amount)

    def take_used(self) -> dict[str, float]:
        """What was taken since the last call."""
        used, self.used = self.used, {}
        return used

    def _pace(self, key: str, now: float) -> Pace:
        pace = self._paces.get(key)
        if pace is not None:
            self._paces.move_to_end(key)
            return pace
        if len(self._paces) >= self._keys_max:
            self._paces.popitem(last=False)
        pace = self._paces[key] = Pace(self._rate_max_per_s, self._burst_max, now)
        return pace


class LimitSharing:
    """Makes limits hold over all nodes: tells the others what was used here, and charges what they used.

    Each node goes on to judge by itself, at once, and learns of the others a moment later. While they cannot
    be reached, its limits are its own.
    """

    def __init__(
        self,
        meters: Sequence[Meter],
        counts: SharedCounts,
        *,
        interval_s: float,
        keys_max: int,
        clock: Callable[[], float],
    ) -> None:
        """``keys_max``: of the keys used in an interval, that many with the highest use are shared."""
        self._meters = [meter for meter in meters if meter.limits]
        self._counts = counts
        self._interval_s = interval_s
        self._keys_max = keys_max
        self._clock = clock
        self._totals: dict[str, int] = {}
        """The totals of the last exchange: a key that was not in it starts over, because what the others used
        in the meantime says nothing of their rate now."""

    async def run(self) -> None:
        """Exchange until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.exchange()

    async def exchange(self) -> None:
        """One round."""
        used = [(amount, meter, key) for meter in self._meters for key, amount in meter.take_used().items()]
        if len(used) > self._keys_max:
            used = heapq.nlargest(self._keys_max, used, key=lambda one: one[0])
        if not used:
            self._totals = {}
            return
        own = {_shared_key(meter, key): (max(1, round(amount)), meter, key) for amount, meter, key in used}
        totals = await self._counts.add({shared: amount for shared, (amount, _, _) in own.items()})
        now = self._clock()
        for shared, total in totals.items():
            before = self._totals.get(shared)
            amount, meter, key = own[shared]
            if before is not None and (by_others := total - before - amount) > 0:
                meter.charge(key, now, by_others)
        self._totals = dict(totals)


def _shared_key(meter: Meter, key: str) -> str:
    """Short, and nothing that tells a reader of Redis who was where."""
    return f"{meter.name}:{blake2b(key.encode(errors='surrogatepass'), digest_size=16).hexdigest()}"
