"""What the audit log says of those who come, are sent away, and are not let in, in both dialects."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from collab_server.access.base import NotGrantedError, VoidTokenError
from collab_server.access.identity import Identity
from collab_server.errors import NotAuthenticatedError
from collab_server.gateway.sessions import Dialect
from collab_server.telemetry.audit import AuditLog
from tests.support import muxframes as mux
from tests.unit.gateway.played import Place, admission, place
from tests.unit.hosting.house import house, until

ANN = Identity("ann", session_id="s1")
Read = Callable[[], list[dict[str, Any]]]


@pytest_asyncio.fixture
async def here() -> AsyncIterator[Place]:
    tokens: dict[str, Any] = {
        "ann": admission("ann", until_ms=1_010_000, session="s1"),
        "bob": admission("bob"),
        "elsewhere": NotGrantedError("the token does not grant access to this room", ANN),
        "revoked": VoidTokenError("the token was revoked", ANN),
        "forged": NotAuthenticatedError("the token is not signed with a key of ours"),
    }
    async with house() as home, place(home, **tokens) as here:
        yield here


@pytest.fixture
def read(here: Place, tmp_path: Path) -> Read:
    path = tmp_path / "audit"
    here.lobby.audit = AuditLog(str(path), now_ms=lambda: here.now_ms)
    here.lobby.audit.open()

    def lines() -> list[dict[str, Any]]:
        here.lobby.audit.close()
        return [json.loads(line) for line in path.read_text().splitlines()]

    return lines


async def enter(here: Place, dialect: Dialect, token: str) -> None:
    """Ask for the room ``trip``, and wait for the answer."""
    asked = len(here.gatekeeper.asked)
    if dialect is Dialect.PLAIN:
        here.connect(f"/trip?token={token}")
    else:
        here.connect().say(mux.auth("trip", token))
    await until(lambda: len(here.gatekeeper.asked) > asked and not here.lobby.is_bringing_in)


BOTH = pytest.mark.parametrize("dialect", list(Dialect))
WHO = {"user": "ann", "session": "s1"}


@BOTH
async def test_who_is_refused_is_named_where_a_genuine_token_says_it(
    here: Place, read: Read, dialect: Dialect
) -> None:
    for token in ("elsewhere", "revoked", "forged"):
        await enter(here, dialect, token)
    lines = read()
    assert [line["event"] for line in lines] == ["refusal"] * 3
    assert [line["who"] for line in lines] == [WHO, WHO, None]
    assert [line["what"] for line in lines] == [{"room": "trip", "code": code} for code in (4403, 4401, 4401)]


@BOTH
async def test_a_session_that_is_ended_for_its_token_is_told(
    here: Place, read: Read, dialect: Dialect
) -> None:
    await enter(here, dialect, "ann")
    await enter(here, dialect, "bob")
    here.now_ms = 1_010_000
    here.sessions.tick()
    here.sessions.close_where(
        lambda session: session.identity.user_id == "bob", NotAuthenticatedError("access was revoked")
    )
    ended = [line for line in read() if line["event"] == "end"]
    assert [(line["who"], line["reason"], line["result"]) for line in ended] == [
        (WHO, "the token has run out", "ok"),
        ({"user": "bob"}, "access was revoked", "ok"),
    ]
    assert ended[0]["what"] == {"room": "trip", "dialect": dialect.value, "code": 4401}


@BOTH
async def test_who_finds_no_place_is_refused_by_name(here: Place, read: Read, dialect: Dialect) -> None:
    here.sessions._sessions_max = 0
    await enter(here, dialect, "ann")
    (line,) = read()
    assert (line["event"], line["who"], line["what"]) == ("refusal", WHO, {"room": "trip", "code": 1013})


async def test_a_token_of_somebody_else_on_a_live_document_is_told(here: Place, read: Read) -> None:
    socket = here.connect()
    socket.say(mux.auth("trip", "ann"))
    await socket.heard("trip", "welcome")
    socket.say(mux.auth("trip", "bob"))
    await socket.heard("trip", "denied")
    login, refusal = read()
    assert (login["event"], login["who"]) == ("login", WHO)
    assert (refusal["event"], refusal["who"]) == ("refusal", {"user": "bob"})
    assert refusal["reason"] == "the new token is somebody else's"
