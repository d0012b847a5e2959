"""Whether the body of an HTTP request or answer moves: a byte now and then would hold a place for ever.

Pure: the time is handed in.
"""

from __future__ import annotations


class Progress:
    """What moved on one HTTP connection since it was looked at last."""

    __slots__ = (
        "_body_bytes_min_per_s", "_exchange", "_looked_at", "_moved_at", "_received_bytes",
        "_stall_timeout_s", "_unsent_bytes", "_wanted_body", "_was_drained",
    )  # fmt: skip

    def __init__(self, body_bytes_min_per_s: float, stall_timeout_s: float, now: float) -> None:
        """A body must come at this rate, an answer be read on in ``stall_timeout_s``. 0 is no limit."""
        self._body_bytes_min_per_s = body_bytes_min_per_s
        self._stall_timeout_s = stall_timeout_s
        self._looked_at = self._moved_at = now
        self._exchange: object = None
        self._wanted_body = False
        self._received_bytes = 0
        self._unsent_bytes = 0
        self._was_drained = False

    def received(self, size_bytes: int) -> None:
        """A part of a body came."""
        self._received_bytes += size_bytes

    def drained(self) -> None:
        """What waited to be read was read, but for a little."""
        self._was_drained = True

    def stands_still(self, exchange: object, now: float, *, wants_body: bool, unsent_bytes: int) -> bool:
        """Whether it is too slow. To be asked every few seconds.

        Args:
            exchange: identifies the request that is being served.
            now: seconds that never fall.
            wants_body: whether more of its body must come, and would be read.
            unsent_bytes: what the client has not taken yet of answers. The kernel takes them in large pieces:
                that there are fewer is progress, however many.
        """
        wanted, received_bytes = self._wanted_body, self._received_bytes
        is_same = exchange is self._exchange
        elapsed_s = now - self._looked_at
        if not is_same or not unsent_bytes or unsent_bytes < self._unsent_bytes or self._was_drained:
            self._moved_at = now
        self._exchange, self._looked_at, self._wanted_body = exchange, now, wants_body
        self._received_bytes, self._unsent_bytes, self._was_drained = 0, unsent_bytes, False
        if is_same and wanted and wants_body and received_bytes < self._body_bytes_min_per_s * elapsed_s:
            return True
        return 0 < self._stall_timeout_s <= now - self._moved_at
