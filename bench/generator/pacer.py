"""Doing things when they are due, to a fraction of a millisecond.

uvloop's timers count whole milliseconds; that would be a large part of what is measured. On Linux the pacer
therefore sleeps on a timerfd, which is exact. How late each thing was done is recorded: it is the
generator's own lag, and tells whether the generator was the bottleneck.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from bench.generator.tally import Tally

Act = Callable[[float], None]
"""Gets the time at which it was due, in seconds from the beginning of the run."""

_BATCH: Final = 64
"""Things done in one turn of the loop; then sockets are read again."""
_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("value", _TimeSpec))


class Alarm:
    """Calls back at a time of ``time.monotonic()``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop = loop
        self._call = call
        self._handle: asyncio.TimerHandle | None = None
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            loop.add_reader(self._fd, self._rang)

    def set(self, at: float) -> None:
        """Call back at this time, and not at the one set before."""
        if self._fd < 0:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(max(0.0, at - time.monotonic()), self._call)
            return
        at = max(at, 1e-9)
        setting = _Setting()
        setting.value.seconds = int(at)
        setting.value.nanoseconds = int((at - int(at)) * 1e9) or 1
        self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None)

    def _rang(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew in the meantime
        self._call()

    def close(self) -> None:
        """Never call back again."""
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class Pacer:
    """A heap of schedules. Each yields ascending times; ``act`` is called for each of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tally: Tally) -> None:
        self._loop = loop
        self._tally = tally
        self._heap: list[tuple[float, int, Act, Iterator[float], bool]] = []
        self._added = 0
        self._alarm = Alarm(loop, self._turn)
        self._start = 0.0
        self._running = False

    def add(self, times_s: Iterator[float], act: Act, *, is_timed: bool = True) -> None:
        """Follow a schedule. ``is_timed``: whether being late with it says that the generator is too slow."""
        due_s = next(times_s, None)
        if due_s is not None:
            self._added += 1
            heapq.heappush(self._heap, (due_s, self._added, act, times_s, is_timed))
            if self._running and self._heap[0][1] == self._added:
                self._alarm.set(self._start + due_s)

    def once(self, at_s: float, act: Act) -> None:
        """Do one thing."""
        self.add(iter((at_s,)), act)

    def start(self, start: float) -> None:
        """Second 0 is at ``start`` of ``time.monotonic()``."""
        self._start = start
        self._running = True
        if self._heap:
            self._alarm.set(start + self._heap[0][0])

    def stop(self) -> None:
        """Do nothing more."""
        self._running = False
        self._heap.clear()
        self._alarm.close()

    def _turn(self) -> None:
        heap = self._heap
        start = self._start
        tally = self._tally
        for _ in range(_BATCH):
            if not heap:
                return
            due_s, number, act, times_s, is_timed = heap[0]
            lag_s = time.monotonic() - start - due_s
            if lag_s < 0:
                self._alarm.set(start + due_s)
                return
            heapq.heappop(heap)
            if is_timed:
                tally.time("lag", lag_s)
            act(due_s)
            if not self._running:
                return
            next_s = next(times_s, None)
            if next_s is not None:
                heapq.heappush(heap, (next_s, number, act, times_s, is_timed))
        self._loop.call_soon(self._turn)
