"""Many connections from one machine: source addresses on the loopback range, and open files.

From one address to one port there are at most 28,000 connections (the kernel's range of local ports). Every
address of 127.0.0.0/8 is this machine, so each block of clients takes one of its own.
"""

from __future__ import annotations

import resource
import socket
from typing import Final

from bench.errors import BenchError

CLIENTS_PER_ADDRESS: Final = 20_000
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_SPARE_FILES: Final = 64


def source_address(process: int, number: int) -> str:
    """The loopback address from which the client of this number in this process connects."""
    return f"127.{16 + process % 200}.{number // CLIENTS_PER_ADDRESS % 250}.1"


def open_socket(source: str | None, family: int = socket.AF_INET) -> socket.socket:
    """A socket that connects from ``source``; the kernel picks the port when it connects, not before."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
    except OSError:
        sock.close()
        raise
    return sock


def allow_files(connections: int) -> None:
    """Let this process open so many connections.

    Raises:
        BenchError: The system does not allow it; the text says what to do.
    """
    needed = connections + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(
            f"a generator process would need {needed} open files, and the limit is {hard}: "
            f"raise it (ulimit -n), or share the {connections} connections among more --processes"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
