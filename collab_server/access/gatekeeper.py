"""Who is let in: the doors of the house ask here.

Three gatekeepers: of a server with keys or a callback, of one without that serves its own machine only, and
of one that is open to everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from collab_server.access.base import NotGrantedError, NothingRevoked, Revoked, VoidTokenError
from collab_server.access.callback import Callback
from collab_server.access.grants import EVERYTHING, ClaimsError, Grant, grants_of, identity_of
from collab_server.access.identity import ANONYMOUS, Admission, Caller, Identity, Role
from collab_server.access.tokens import Tokens, Verified
from collab_server.errors import BusyError, NotAuthenticatedError, PeerError, RefusedError

_OUTCOMES: Final[tuple[tuple[type[PeerError], str], ...]] = (
    (NotAuthenticatedError, "unauthenticated"),
    (RefusedError, "refused"),
    (BusyError, "busy"),
)

Count = Callable[[str], None]
"""Counts an outcome: ``admitted``, ``unauthenticated``, ``refused`` or ``busy``."""


class OpenGatekeeper:
    """Admits everybody to every room, with one role."""

    admits_anonymous = True

    def __init__(self, role: Role = Role.OWNER) -> None:
        self._admission = _anonymous(role)

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """The same for everybody."""
        return self._admission

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """The same again."""
        return self._admission


class LoopbackGatekeeper:
    """Admits everybody on this machine as owner, and nobody else: for a server that has no keys."""

    admits_anonymous = True

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """Asks where the caller is. A token cannot be checked, so it says nothing."""
        return await self.admit_everywhere(token, caller)

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """The same."""
        if not caller.is_loopback:
            raise RefusedError("this server has no keys for tokens, so it serves its own machine only")
        return _OWNER


class TokenGatekeeper:
    """Admits by tokens, by what the application says, or both.

    With keys, a token must be genuine and hold before anything else is looked at. With a callback, the
    application then decides, and a token's grants are not looked at; without one, the token's grants do.

    Args:
        tokens: None without keys.
        callback: None if the application is not asked.
        anonymous_role: what those without a token may do; None if they are not let in. With a callback the
            application is asked about them, with no token, and decides.
        revoked: asked about each token.
        token_bytes_max: a longer one is not looked at, and not sent to the application.
    """

    def __init__(
        self,
        tokens: Tokens | None,
        callback: Callback | None,
        anonymous_role: Role | None = None,
        revoked: Revoked | None = None,
        *,
        token_bytes_max: int = 8192,
    ) -> None:
        self._token_bytes_max = token_bytes_max
        self._tokens = tokens
        self._callback = callback
        self._anonymous = None if anonymous_role is None else _anonymous(anonymous_role)
        self._revoked: Revoked = NothingRevoked() if revoked is None else revoked

    @property
    def admits_anonymous(self) -> bool:
        """As the settings say; with a callback the application still has to agree."""
        return self._anonymous is not None

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """See ``Gatekeeper``."""
        return await self._admit(token, room, caller)

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """See ``Gatekeeper``."""
        return await self._admit(token, None, caller)

    async def _admit(self, token: str | None, room: str | None, caller: Caller) -> Admission:
        if not token:
            if self._anonymous is None:
                raise NotAuthenticatedError("a token is needed")
            if self._callback is None:
                return self._anonymous
            return await self._callback.admit(None, None, room, caller)
        if len(token if token.isascii() else token.encode("utf-8", "replace")) > self._token_bytes_max:
            raise NotAuthenticatedError(f"the token is longer than {self._token_bytes_max} bytes")
        verified = None if self._tokens is None else await self._tokens.verify(token)
        if self._callback is not None:
            # Read before it is asked, or the application's answer would be blamed for an odd token.
            identity = None if verified is None else _identity(verified)
            try:
                admission = await self._callback.admit(token, verified, room, caller)
            except NotAuthenticatedError as error:
                raise (error if identity is None else VoidTokenError(error.reason, identity)) from None
            except RefusedError as error:
                raise (error if identity is None else NotGrantedError(error.reason, identity)) from None
            if verified is None and self._revoked.is_revoked(admission.identity, room):
                # Perhaps only the answer is older than that: the application may let in this one again.
                admission = await self._callback.admit(token, None, room, caller, fresh=True)
        elif verified is not None:
            admission = _by_claims(verified, room)
        else:
            raise NotAuthenticatedError("no token can be checked here")
        if self._revoked.is_revoked(admission.identity, room):
            raise VoidTokenError("the token was revoked", admission.identity)
        return admission


class CountingGatekeeper:
    """Counts what another one answers."""

    def __init__(self, inner: OpenGatekeeper | LoopbackGatekeeper | TokenGatekeeper, count: Count) -> None:
        self._inner = inner
        self._count = count

    @property
    def admits_anonymous(self) -> bool:
        """As the other one says."""
        return self._inner.admits_anonymous

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        """As the other one decides."""
        try:
            admission = await self._inner.admit(token, room, caller)
        except PeerError as error:
            self._count(next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "refused"))
            raise
        self._count("admitted")
        return admission

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        """As the other one decides; not counted, because nobody enters anything."""
        return await self._inner.admit_everywhere(token, caller)


_OWNER: Final = Admission(ANONYMOUS, Role.OWNER)


def _anonymous(role: Role) -> Admission:
    return Admission(ANONYMOUS, role, Grant(EVERYTHING, role).writable_roots)


def _by_claims(verified: Verified, room: str | None) -> Admission:
    """What a genuine token grants in a room, or in all of them."""
    identity = _identity(verified)
    try:
        grants = grants_of(verified.claims)
    except ClaimsError as error:
        raise NotAuthenticatedError(f"the token is not understood: {error}") from None
    grant = grants.everywhere() if room is None else grants.of(room)
    if grant is None or grant.role is None:
        raise NotGrantedError("the token does not grant access to this room", identity)
    return Admission(identity, grant.role, grant.writable_roots, verified.expires_at_ms)


def _identity(verified: Verified) -> Identity:
    """Who a genuine token speaks of."""
    try:
        return identity_of(verified.claims, verified.issued_at_ms)
    except ClaimsError as error:
        raise NotAuthenticatedError(f"the token is not understood: {error}") from None
