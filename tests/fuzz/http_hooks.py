"""What Schemathesis is told about the server: loaded into its process by ``SCHEMATHESIS_HOOKS``.

It makes up names of rooms that nobody has. Half of them become names of documents that are there, so that
what it sends reaches more than a 404.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import schemathesis

ROOMS = {"fuzzed": "v1", "fuzzed%2Ftwo": "v2", "fuzzed%2Fthree": "v3"}
"""Each with the id of a named version. Whoever starts the server makes them, in this order."""
DOOMED = "doomed"
"""Exists until the first request that deletes it."""


@schemathesis.serializer("application/zip", "application/octet-stream")
def as_bytes(_context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Lead half of the valid requests to documents and versions that exist."""
    names = case.path_parameters
    if not names or _is_bad_on_purpose(case):
        return
    room, version = names.get("room"), names.get("version")
    if room is not None and (dice := crc32(repr(room).encode())) % 2:
        is_delete = case.method.upper() == "DELETE"
        known, named = list(ROOMS.items())[dice // 2 % len(ROOMS)]
        names["room"] = DOOMED if is_delete and version is None else known
        if version is not None and not is_delete:
            names["version"] = named


def _is_bad_on_purpose(case: Any) -> bool:
    part = None if case.meta is None else case.meta.components.get("path")
    return part is not None and part.mode.is_negative
