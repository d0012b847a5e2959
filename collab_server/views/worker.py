"""A worker process: reads calls from its standard input, writes results, and ends with its parent.

Started by ``views.pool`` as ``python -m collab_server.views.worker``. Each message is eight bytes of length
and a pickle. Its limits: address space, no core file, a lower priority than the server's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import resource
import signal
import struct
import sys
from typing import BinaryIO

HEADER = struct.Struct(">Q")
RECURSION_MAX = 20_000
_PR_SET_PDEATHSIG = 1


def main(memory_bytes_max: int, parent_pid: int) -> None:
    """Serve calls until the parent closes the pipe or dies."""
    calls = os.fdopen(os.dup(0), "rb")
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)  # a stray print must not end up among the results
    _limit(memory_bytes_max, parent_pid)
    _send(results, ("ready", None, None))
    while (message := _receive(calls)) is not None:
        _send(results, _answer(message))


def _limit(memory_bytes_max: int, parent_pid: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the line above
            os._exit(0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS knows the limit but refuses it
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))
    os.nice(5)
    sys.setrecursionlimit(RECURSION_MAX)


def _answer(message: bytes) -> tuple[str, object, object]:
    try:
        function, args, kwargs = pickle.loads(message)  # noqa: S301 - the parent wrote it
        return ("ok", function(*args, **kwargs), None)
    except MemoryError:
        return ("memory", None, None)
    except BaseException as error:  # noqa: BLE001 - a native panic derives from BaseException
        return ("error", type(error).__name__, str(error)[:500])


def _receive(calls: BinaryIO) -> bytes | None:
    header = calls.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    return calls.read(HEADER.unpack(header)[0])


def _send(results: BinaryIO, answer: tuple[str, object, object]) -> None:
    try:
        message = pickle.dumps(answer, protocol=5)
    except MemoryError:
        message = pickle.dumps(("memory", None, None))
    except Exception as error:  # noqa: BLE001 - whatever the value's own code raised
        message = pickle.dumps(("error", type(error).__name__, "the result cannot be sent"))
    results.write(HEADER.pack(len(message)))
    results.write(message)
    results.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
