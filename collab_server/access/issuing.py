"""Making tokens by hand, for development: an application makes its own, with a library for JWT."""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt

from collab_server.access.grants import ROLES, ClaimsError, grants_of, identity_of
from collab_server.access.keys import KeyUnusableError, read_secret, secret_key
from collab_server.config import SECRET_BYTES_MIN, Settings, too_short
from collab_server.errors import ConfigError

_UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TTL: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", re.IGNORECASE)
_TTL_MAX_S: Final = 10 * 365 * 86_400


def lifetime(ttl: str, now_s: int) -> dict[str, int]:
    """The claims ``iat`` and ``exp``, for ``90``, ``90s``, ``15m``, ``1h`` or ``7d``. Raises ConfigError."""
    matched = _TTL.fullmatch(ttl)
    seconds = float(matched[1]) * _UNITS_S[matched[2].lower()] if matched is not None else 0.0
    if not 0 < seconds <= _TTL_MAX_S:
        raise ConfigError(f"--ttl {ttl} is no time: 90s, 15m, 1h and 7d are, up to ten years")
    return {"iat": now_s, "exp": now_s + math.ceil(seconds)}


def rooms_claim(rooms: Sequence[str], roles: Sequence[str], roots: str) -> dict[str, Any]:
    """The claim ``rooms``: the first role for the first pattern and so on, or one role for all.

    ``roots``, with commas between, narrow all of them. Raises ConfigError.
    """
    if not rooms:
        raise ConfigError("--room is missing: a room's name, or a pattern such as 'trip-*'")
    if not roles:
        raise ConfigError("--role is missing: viewer, commenter, editor or owner")
    for role in roles:
        _check_role(role)
    if len(roles) == 1:
        roles = list(roles) * len(rooms)
    if len(roles) != len(rooms):
        raise ConfigError(
            f"--room is given {len(rooms)} times and --role {len(roles)} times: "
            "there must be one role for each, or one for all"
        )
    if len(set(rooms)) != len(rooms):
        raise ConfigError("--room is given twice with the same value")
    narrowed = [root.strip() for root in roots.split(",") if root.strip()]
    found = {
        room: {"role": role, "roots": narrowed} if narrowed else role
        for room, role in zip(rooms, roles, strict=True)
    }
    try:
        grants_of({"rooms": found})
    except ClaimsError as error:
        raise ConfigError(f"--room: {error}") from error
    return found


def _check_role(role: str) -> None:
    if role in ROLES:
        return
    close = difflib.get_close_matches(role.lower(), ROLES, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else "there are " + ", ".join(ROLES)
    raise ConfigError(f"--role {role} is no role; {hint}")


def issue(settings: Settings, claims: Mapping[str, Any]) -> str:
    """A token, signed by HS256 with the secret of the settings, for their issuer and audience.

    Claims of None are left out. Raises ConfigError for what no server would take.
    """
    found = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience[0] if settings.jwt_audience else None,
        **claims,
    }
    found = {name: value for name, value in found.items() if value is not None}
    try:
        identity_of(found, None)
    except ClaimsError as error:
        raise ConfigError(str(error)) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # the caller is told in our words
        return jwt.encode(found, _secret(settings), algorithm="HS256")


def shortcoming(settings: Settings) -> str | None:
    """What is wrong with the secret, where only a server on loopback would take it."""
    secret = (settings.jwt_secret or "").encode()
    return too_short(secret) if 0 < len(secret) < SECRET_BYTES_MIN else None


def _secret(settings: Settings) -> bytes:
    if settings.jwt_secret is not None:
        secret = settings.jwt_secret.encode()
        try:
            secret_key(secret, bytes_min=1)  # a server on loopback takes it
        except KeyUnusableError as error:
            raise ConfigError(f"the secret {error}") from error
        return secret
    if settings.jwt_secret_file is not None:
        material: bytes = read_secret(settings.jwt_secret_file).material
        return material
    raise ConfigError("--secret is missing, and the settings have no jwt_secret")
