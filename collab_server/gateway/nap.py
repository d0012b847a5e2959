"""A connection that says nothing keeps no parser: the first bytes wake it.

A picows protocol with its buffer is a third of what an idle connection costs. While a connection naps, bytes
are read into one buffer that all naps share: the loop has one thread, and what was read is copied out before
anybody else can be asked for a buffer.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_READ_BYTES: Final = 16 * 1024
_SHARED: Final = memoryview(bytearray(_READ_BYTES))


class Sleeper(Protocol):
    """Whose nap it is."""

    def wake(self, data: bytes) -> None:
        """Bytes came."""

    def pause_writing(self) -> None:
        """The high-water mark was crossed."""

    def resume_writing(self) -> None:
        """The low-water mark was reached."""

    def lost(self) -> None:
        """The TCP connection is gone."""


class Nap(asyncio.BufferedProtocol):
    """The protocol of a transport while its connection naps."""

    __slots__ = ("_sleeper",)

    def __init__(self, sleeper: Sleeper) -> None:
        self._sleeper = sleeper

    def get_buffer(self, sizehint: int) -> memoryview:
        """The buffer that all naps share."""
        return _SHARED

    def buffer_updated(self, nbytes: int) -> None:
        """The nap is over."""
        self._sleeper.wake(bytes(_SHARED[:nbytes]))

    def pause_writing(self) -> None:
        """Pass it on."""
        self._sleeper.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._sleeper.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._sleeper.lost()
