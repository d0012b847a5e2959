"""A frame on its way out: encoded once, sent to many."""

from __future__ import annotations


class Frame:
    """The payload of one binary WebSocket message.

    All members that get the same bytes share one ``Frame``. A transport keeps the form in which it writes it
    in ``wire``, and one that compresses the compressed payload in ``deflated``, so that a broadcast is
    encoded once and not once per member.
    """

    __slots__ = ("data", "deflated", "wire")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.deflated: bytes | None = None
        self.wire: bytes | None = None

    def __len__(self) -> int:
        return len(self.data)
