"""What this process uses: CPU of its event loop, memory, and how much memory there is."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STATM = Path("/proc/self/statm")
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Of a container: version 2 of control groups, and version 1, which writes a huge number for no limit."""


class LoopCpu:
    """The CPU that the calling thread uses. Make it and ask it in the event loop's own thread."""

    def __init__(self) -> None:
        self._cpu_s = time.thread_time()
        self._at_s = time.monotonic()

    def share(self) -> float:
        """Of one core, since the last call: 0.0 to 1.0."""
        cpu_s, at_s = time.thread_time(), time.monotonic()
        elapsed_s = at_s - self._at_s
        used_s = cpu_s - self._cpu_s
        self._cpu_s, self._at_s = cpu_s, at_s
        return min(1.0, used_s / elapsed_s) if elapsed_s > 0 else 0.0


def memory_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say (it is read from Linux's /proc)."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_limit_bytes() -> int:
    """What the container, or else the machine, has; 0 where that cannot be known."""
    try:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
    limits = [machine]
    for path in _LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)
