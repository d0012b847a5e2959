"""Messages to those who are in a document, which no document keeps, over HTTP."""

from __future__ import annotations

from typing import Annotated, Protocol, Self

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from collab_server.api.access import Doors, Visitor
from collab_server.api.bodies import read_json
from collab_server.api.errors import ApiError, errors
from collab_server.api.rooms import ROOM, PartRoute, Room, room_in
from collab_server.api.schema import described, one_of

_NAME_MAX = 1024
_BYTES_PER_BYTE = 6
"""How much longer JSON may write a byte: as ``\\u0000``."""
_FRAME_BYTES = 8 * 1024
"""For what stands around the payload."""


class Posting(Protocol):
    """What the API needs of ``gateway.courier``."""

    def announce(
        self, room: str, payload: str, *, user: str | None = None, session: str | None = None
    ) -> int:
        """Bring a message to a room, or to one user or session in it; how many got it on this node."""
        ...


Name = Annotated[str, Field(min_length=1, max_length=_NAME_MAX)]


class Recipient(BaseModel):
    """One user's clients, or one session's."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=one_of("user", "session"))

    user: Name | None = None
    """The `sub` of the tokens."""
    session: Name | None = None
    """The `sid` or `jti` of the token, or the id that the operations API shows."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.user is None) == (self.session is None):
            raise ValueError("give either a user or a session")
        return self


class StatelessRequest(BaseModel):
    """A message, and for whom it is: without `to`, for everybody in the document."""

    model_config = ConfigDict(extra="forbid", strict=True)

    payload: str
    to: Recipient | None = None


class StatelessPosted(BaseModel):
    """What became of it."""

    members: int
    """How many clients got it on this node. With several nodes, the others bring it to theirs."""


def stateless_router(posting: Posting, room_name_bytes_max: int, bytes_max: int, doors: Doors) -> APIRouter:
    """The route below one document. It takes an editor."""
    router = APIRouter(route_class=PartRoute)

    @router.post(
        ROOM + "/stateless",
        response_model=StatelessPosted,
        status_code=202,
        openapi_extra=described(StatelessRequest),
        responses=errors(400, 413, 415, 422),
    )
    async def post(room: Room, request: Request, _visitor: Visitor = doors.editor) -> Response:
        """Send a message to the clients that are in a document now, over the Hocuspocus protocol.

        Nothing is kept: who is not there, or reads too slowly just then, misses it.
        """
        name = room_in(room, room_name_bytes_max)
        body_bytes_max = _BYTES_PER_BYTE * bytes_max + _FRAME_BYTES
        asked = await read_json(request, StatelessRequest, body_bytes_max)
        if len(asked.payload.encode(errors="surrogatepass")) > bytes_max:
            raise ApiError(413, "too_large", f"the payload has more than {bytes_max} bytes")
        to = asked.to or Recipient.model_construct()
        members = posting.announce(name, asked.payload, user=to.user, session=to.session)
        return JSONResponse({"members": members}, status_code=202)

    return router
