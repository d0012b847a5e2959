"""A connection that says nothing keeps no parser: the first bytes wake it.

A picows protocol with its buffer is a third of what an idle connection costs. While a connection naps, bytes
are read into one buffer that all naps share: the loop has one thread, and what was read is copied out before
anybody else can be asked for a buffer.
"""

from __future__ import annotations

import asyncio
from typing import Final

_READ_BYTES: Final = 16 * 1024
_SHARED: Final = memoryview(bytearray(_READ_BYTES))


class Nap(asyncio.BufferedProtocol):
    """A connection that is the protocol of its own transport while it naps."""

    __slots__ = ()

    def wake(self, data: bytes) -> None:
        """Bytes came: the nap is over."""
        raise NotImplementedError

    def lost(self) -> None:
        """The TCP connection is gone."""
        raise NotImplementedError

    @staticmethod
    def get_buffer(_sizehint: int) -> memoryview:  # a method would be kept bound
        """The buffer that all naps share."""
        return _SHARED

    def buffer_updated(self, nbytes: int) -> None:
        """Copy out what came."""
        self.wake(bytes(_SHARED[:nbytes]))

    def connection_lost(self, _error: Exception | None) -> None:
        """The end, during a nap."""
        self.lost()
