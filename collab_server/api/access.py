"""Who may do what over HTTP: one dependency at each route.

A token comes as ``Authorization: Bearer``, or as ``?token=`` where no header can be set, and is judged by the
same gatekeeper as that of a WebSocket. A viewer reads; an editor also names versions; an owner of the whole
document (not narrowed to some of its roots) also restores, deletes, exports, imports and pins. What concerns
all rooms takes an owner of every room, or the ``admin_token``, which may do everything here.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyQuery, HTTPBearer

from collab_server.access.base import Gatekeeper, known_from
from collab_server.access.callers import Callers
from collab_server.access.credentials import bearer
from collab_server.access.identity import Admission, Caller, Identity, Role
from collab_server.api.errors import ApiError
from collab_server.api.rooms import room_of_route
from collab_server.errors import CollabError, PeerError, RefusedError
from collab_server.telemetry.audit import AuditEvent, AuditLog, AuditResult

ADMIN: Final = Admission(Identity(name="admin"), Role.OWNER)
"""Who has the ``admin_token``."""

SCHEMES: Final = [
    Security(HTTPBearer(auto_error=False, scheme_name="bearer", description="a token")),
    Security(
        APIKeyQuery(
            name="token", auto_error=False, scheme_name="query", description="where no header can be set"
        )
    ),
]
"""What the schema of the interface says of tokens. They only describe: ``Doors`` reads and judges."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who makes a request, and what the gatekeeper said of it."""

    admission: Admission
    caller: Caller
    room: str | None
    """The room that the request is about; None where it is about all of them."""
    action: str
    """What is asked for, for the audit log."""

    @property
    def author(self) -> str | None:
        """Whose work it is."""
        return self.admission.identity.user_id


class Doors:
    """What routes ask before anything else.

    Its attributes are default values of a route's parameter: ``visitor: Visitor = doors.viewer``.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        callers: Callers,
        audit: AuditLog,
        *,
        room_name_bytes_max: int,
        admin_token: str | None = None,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._callers = callers
        self._audit = audit
        self._room_name_bytes_max = room_name_bytes_max
        self._admin_token = None if admin_token is None else admin_token.encode()
        self.viewer: Any = Depends(self._asker(Role.VIEWER))
        self.editor: Any = Depends(self._asker(Role.EDITOR))
        self.owner: Any = Depends(self._asker(Role.OWNER))
        """Of the whole document."""
        self.everywhere: Any = Depends(self._admit_everywhere)
        """An owner of every room."""

    @property
    def admits_anonymous(self) -> bool:
        """Whether a request may do without a token."""
        return self._gatekeeper.admits_anonymous

    def demand(self, visitor: Visitor, least: Role) -> None:
        """Let in only who has this role. Raises RefusedError, and notes that."""
        with self._refusals(visitor.caller, visitor.room, visitor.action, visitor.admission.identity):
            _check(visitor.admission, least)

    @contextmanager
    def recorded(
        self, event: AuditEvent, visitor: Visitor, **what: str | int | bool | None
    ) -> Iterator[None]:
        """Note in the audit log what becomes of the block."""
        fields: dict[str, Any] = {"room": visitor.room, **what}
        identity, address = visitor.admission.identity, visitor.caller.address
        try:
            yield
        except BaseException as error:  # also when the server leaves, or the client does, in the middle
            self._audit.record(
                event,
                identity=identity,
                address=address,
                result=AuditResult.FAILED,
                reason=_why(error),
                **fields,
            )
            raise
        self._audit.record(event, identity=identity, address=address, **fields)

    def _asker(self, least: Role) -> Any:
        async def ask(request: Request) -> Visitor:
            room = room_of_route(request, self._room_name_bytes_max)
            return await self._admit(request, room, least)

        return ask

    async def _admit_everywhere(self, request: Request) -> Visitor:
        return await self._admit(request, None, Role.OWNER)

    async def _admit(self, request: Request, room: str | None, least: Role) -> Visitor:
        peer = request.client.host if request.client is not None else None
        caller = self._callers.caller(peer, request.headers.getlist)
        token = bearer(request.headers, request.url.query)
        action = f"{request.method} {getattr(request.scope.get('route'), 'path', '')}"
        if self._is_admin(token):
            return Visitor(ADMIN, caller, room, action)
        with self._refusals(caller, room, action, None):
            if room is None:
                admission = await self._gatekeeper.admit_everywhere(token, caller)
            else:
                admission = await self._gatekeeper.admit(token, room, caller)
        visitor = Visitor(admission, caller, room, action)
        self.demand(visitor, least)
        return visitor

    def _is_admin(self, token: str | None) -> bool:
        if token is None or self._admin_token is None:
            return False
        return hmac.compare_digest(token.encode(errors="surrogatepass"), self._admin_token)

    @contextmanager
    def _refusals(
        self, caller: Caller, room: str | None, action: str, identity: Identity | None
    ) -> Iterator[None]:
        try:
            yield
        except PeerError as error:
            self._audit.record(
                AuditEvent.REFUSAL,
                identity=known_from(error) or identity,
                address=caller.address,
                result=AuditResult.REFUSED,
                reason=error.reason,
                room=room,
                action=action,
                code=int(error.close_code),
            )
            raise


def _why(error: BaseException) -> str:
    if isinstance(error, CollabError | ApiError):
        return str(error)
    return "cut off before its end" if isinstance(error, asyncio.CancelledError) else type(error).__name__


def _check(admission: Admission, least: Role) -> None:
    if admission.role < least:
        raise RefusedError(f"this takes the role {least.name.lower()}, not {admission.role.name.lower()}")
    if least is Role.OWNER and admission.writable_roots is not None:
        raise RefusedError("this takes an owner of the whole document, not of some of its roots")
