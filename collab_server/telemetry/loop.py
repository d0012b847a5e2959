"""The health of the process: how late the event loop is, and how long the garbage collector stops it."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import time
from collections.abc import Mapping

from collab_server.telemetry.instruments import Distribution

GENERATION_THRESHOLDS = (2_000, 2, 1_000_000)
"""Of objects, young collections, middle ones. A middle one looks at 8,000 objects: some milliseconds, also
while thousands of clients come in. A full one by threshold is out of reach: ``LoopHealth`` makes them."""
QUIET_SHARE = 0.5
FORCED_AFTER_INTERVALS = 12
PUT_OFF_MAX_S = 86_400.0
"""A full collection that would stop the process for too long is put off for a day at most: nothing of a
client is in a cycle once it has gone, so there is little to be found."""
S_PER_BLOCK = 300e-9
"""What a full collection takes for each allocated block of memory, until it has been measured."""


def settle_gc() -> None:
    """Take what start-up has built out of the collector's sight, and make automatic full collections rare.

    Call it once, when the server is assembled and before connections come. With ten thousand connections a
    full collection walks a million objects that live anyway.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GENERATION_THRESHOLDS)


def unsettle_gc() -> None:
    """Undo ``settle_gc``; for tests and for programs that go on after the server."""
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)


class GcPauses:
    """Measures each pause of the garbage collector, as a context manager around the server's life."""

    def __init__(self, pauses: Mapping[int, Distribution]) -> None:
        self._pauses = pauses
        self._began = 0.0

    def __enter__(self) -> GcPauses:
        """Start to measure."""
        gc.callbacks.append(self._on_gc)
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        gc.callbacks.remove(self._on_gc)

    def _on_gc(self, phase: str, info: Mapping[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        elif self._began:
            self._pauses[min(info["generation"], 2)].observe(time.perf_counter() - self._began)
            self._began = 0.0


class LoopHealth:
    """Samples how late timers run, and makes the full garbage collection at quiet moments."""

    def __init__(
        self,
        lag: Distribution,
        interval_s: float,
        gc_full_interval_s: float = 0.0,
        gc_pause_max_ms: float = math.inf,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            lag: where lags are counted.
            interval_s: time between two samples.
            gc_full_interval_s: time between two full collections; 0 leaves them to Python. One that falls due
                waits until the process used less than half a core in the last interval, but not for ever.
            gc_pause_max_ms: a full collection that is expected to take longer is put off for a day at most.
        """
        self._lag = lag
        self._interval_s = interval_s
        self._gc_full_interval_s = gc_full_interval_s
        self._gc_pause_max_s = gc_pause_max_ms / 1000
        self._s_per_block = S_PER_BLOCK
        self._blocks_settled = 0
        self.lag_s = 0.0
        """The newest sample, in seconds; while the loop hangs it is an old one."""

    async def run(self) -> None:
        """Sample until cancelled. The owner keeps and awaits the task."""
        loop = asyncio.get_running_loop()
        collected_at = due = loop.time()
        self._blocks_settled = sys.getallocatedblocks()
        cpu_before = time.process_time()
        while True:
            due = loop.time() + self._interval_s
            await asyncio.sleep(self._interval_s)
            now = loop.time()
            self.lag_s = max(0.0, now - due)
            self._lag.observe(self.lag_s)
            cpu = time.process_time()
            share, cpu_before = (cpu - cpu_before) / self._interval_s, cpu
            if self._full_collection_due(now - collected_at, share):
                self._collect()
                collected_at = loop.time()

    def _full_collection_due(self, since_s: float, cpu_share: float) -> bool:
        if not self._gc_full_interval_s or since_s < self._gc_full_interval_s:
            return False
        if self._expected_pause_s() > self._gc_pause_max_s and since_s < PUT_OFF_MAX_S:
            return False
        return cpu_share < QUIET_SHARE or since_s > FORCED_AFTER_INTERVALS * self._gc_full_interval_s

    def _expected_pause_s(self) -> float:
        """How long a full collection would take: it looks at what was made since the start."""
        return max(0, sys.getallocatedblocks() - self._blocks_settled) * self._s_per_block

    def _collect(self) -> None:
        blocks = sys.getallocatedblocks() - self._blocks_settled
        began = time.perf_counter()
        gc.collect()
        if blocks >= _BLOCKS_MEASURED_MIN:
            self._s_per_block = (time.perf_counter() - began) / blocks


_BLOCKS_MEASURED_MIN = 20_000
"""With fewer, what a collection takes says nothing of what each block takes."""
