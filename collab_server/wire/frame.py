"""A frame on its way out: encoded once, sent to many."""

from __future__ import annotations


class Frame:
    """The payload of one binary WebSocket message.

    All members that get the same bytes share one ``Frame``. A transport that compresses keeps the compressed
    form in ``deflated``, so that a broadcast is compressed once and not once per member.
    """

    __slots__ = ("data", "deflated")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.deflated: bytes | None = None

    def __len__(self) -> int:
        return len(self.data)
