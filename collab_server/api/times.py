"""Moments in requests: milliseconds since the epoch, or ISO 8601."""

from __future__ import annotations

import datetime as dt
import re

from collab_server.api.errors import ApiError

NOTE = "a moment: ISO 8601 (UTC where it names no offset), or milliseconds since 1970"
CHARACTERS_MAX = 40
_MS_MAX = 253_402_300_799_999
"""The end of the year 9999."""
_LOST_PLUS = re.compile(r"(T[\d:.,]+) (\d{2}:?\d{2})")
"""In a query a plus sign means a space, so that the one of an offset arrives as such."""


def moment_ms(text: str | int) -> int:
    """The moment in milliseconds since the epoch.

    Raises:
        ApiError: 422 for what is neither form, or out of range.
    """
    written = str(text)
    if len(written) <= CHARACTERS_MAX:
        if written.isascii() and written.isdigit():
            if int(written) <= _MS_MAX:
                return int(written)
        else:
            try:
                moment = dt.datetime.fromisoformat(_LOST_PLUS.sub(r"\1+\2", written))
                moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
                return max(0, int(moment.timestamp() * 1000))
            except (ValueError, OverflowError):
                pass
    raise ApiError(422, "invalid_request", f"at: must be {NOTE}")


def iso(at_ms: int) -> str:
    """The moment as ISO 8601 in UTC, to the millisecond."""
    moment = dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
