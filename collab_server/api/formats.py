"""The forms in which a document is given out: JSON, a Yjs update, a state vector."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from collab_server.api.errors import ApiError
from collab_server.api.schema import BINARY, JSON, OBJECT
from collab_server.views.documents import document_json, document_state_vector

OCTETS = "application/octet-stream"


class Format(StrEnum):
    """What may be asked for."""

    JSON = "json"
    UPDATE = "update"
    STATE_VECTOR = "state-vector"


_NOTE = "json, update or state-vector; without it, Accept: application/octet-stream asks for the update"
FormatName = Annotated[str | None, Query(description=_NOTE, json_schema_extra={"enum": list(Format)})]
"""The query parameter; ``wanted_format`` reads it."""
DOCUMENT: Final[dict[str, Any]] = {JSON: OBJECT, OCTETS: BINARY}
"""What the schema of the interface says of an answer that holds a document."""


class Workers(Protocol):
    """Runs module-level functions where they can do no harm; ``views.pool.ViewPool`` is one."""

    @property
    def run(self) -> Callable[..., Awaitable[Any]]:
        """Call a function there, and wait for what it returns. Raises ViewFailedError."""
        ...


def wanted_format(named: str | None, request: Request) -> Format:
    """What is asked for, by name or else by the Accept header.

    Raises:
        ApiError: 422 for a name that is none.
    """
    if named is None:
        accept = request.headers.get("accept", "")
        return Format.UPDATE if OCTETS in accept and "json" not in accept else Format.JSON
    try:
        return Format(named)
    except ValueError:
        raise ApiError(422, "invalid_request", f"format: must be one of {', '.join(Format)}") from None


async def in_format(update: bytes, wanted: Format, workers: Workers, *, rich: bool) -> Response:
    """The answer that holds a document in this form. Raises ViewFailedError."""
    if wanted is Format.UPDATE:
        return Response(update, media_type=OCTETS)
    if wanted is Format.STATE_VECTOR:
        return Response(await workers.run(document_state_vector, update), media_type=OCTETS)
    return Response(await workers.run(document_json, update, rich), media_type="application/json")
