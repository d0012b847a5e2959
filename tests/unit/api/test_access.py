from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from collab_server.access.identity import ANONYMOUS, Admission, Caller, Identity, Role
from collab_server.access.revocations import Revocations
from collab_server.api.public import public_app
from collab_server.config import Settings
from collab_server.errors import BusyError, FloodError, NotAuthenticatedError, RefusedError
from collab_server.hosting.archive import MEDIA_TYPE
from collab_server.hosting.revoking import Revoker
from collab_server.hosting.settings import HistorySettings
from collab_server.telemetry.audit import AuditLog
from persistence.history import SegmentRule
from tests.unit.api.support import doors
from tests.unit.api.test_documents import error_of
from tests.unit.hosting.house import House, InPlace, house, until

ADMIN = "correct-horse-battery-staple"
TRIP = "/v1/documents/trip"


class Guests:
    """A gatekeeper that reads ``role``, ``role+roots`` or ``role@room`` off the token itself."""

    admits_anonymous = False

    def __init__(self) -> None:
        self.callers: list[Caller] = []

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        self.callers.append(caller)
        role, place, roots = self._read(token)
        if place not in {"*", room}:
            raise RefusedError("the token does not speak of this room")
        return Admission(Identity("ada", "Ada", session_id="s1"), role, roots)

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        role, place, roots = self._read(token)
        if place != "*":
            raise RefusedError("the token does not speak of all rooms")
        return Admission(Identity("ada", "Ada", session_id="s1"), role, roots)

    def _read(self, token: str | None) -> tuple[Role, str, frozenset[str] | None]:
        if token is None:
            raise NotAuthenticatedError("a token is needed")
        if token == "busy":
            raise BusyError("the application does not answer")
        if token == "flood":
            raise FloodError("too many wrong tokens")
        name, _, place = token.partition("@")
        role, _, roots = name.partition("+")
        if role.upper() not in Role.__members__:
            raise NotAuthenticatedError("the token is not valid")
        return Role[role.upper()], place or "trip", frozenset([roots]) if roots else None


@pytest_asyncio.fixture
async def home() -> AsyncIterator[House]:
    async with house(history_settings=HistorySettings(rule=SegmentRule(1), settle_timeout_s=2)) as home:
        yield home


@pytest.fixture
def gatekeeper() -> Guests:
    return Guests()


@pytest.fixture
def audit(tmp_path: Path, home: House) -> AuditLog:
    log = AuditLog(str(tmp_path / "audit.jsonl"), now_ms=home.clock)
    log.open()
    return log


@pytest_asyncio.fixture
async def api(home: House, gatekeeper: Guests, audit: AuditLog) -> AsyncIterator[httpx.AsyncClient]:
    revoker = Revoker(
        home.store,
        Revocations(subjects_max=5),
        poll_ms=1000,
        keep_days=1,
        wall_clock_ms=lambda: 1_750_000_000_000,
        random=lambda: 0.5,
    )
    app = public_app(
        home.documents,
        InPlace(),
        Settings(),
        home.history,
        home.archives,
        doors=doors(gatekeeper, audit, ADMIN),
        revoking=revoker,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("192.0.2.7", 5000))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def written(home: House) -> None:
    """Somebody has written into the room "trip"."""
    ada = await home.enter("trip", user_id="ada")
    ada.write("one")
    ada.host.flush()
    await until(lambda: ada.host.is_saved)


READERS = ("viewer", "commenter", "editor", "editor+notes", "owner+notes", "owner", "owner@*")
EDITORS = ("editor", "editor+notes", "owner+notes", "owner", "owner@*")
OWNERS = ("owner", "owner@*")
EVERYWHERE = ("owner@*",)
TOKENS = (*READERS, "owner@other", "viewer@*", "editor@*", "owner+notes@*")
VERSION = TRIP + "/versions/n1"
ROUTES: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("GET", "/v1/documents", {}, EVERYWHERE),
    ("GET", TRIP, {}, READERS),
    ("HEAD", TRIP, {}, READERS),
    ("GET", TRIP + "?at=1", {}, READERS),
    ("GET", TRIP + "/versions", {}, READERS),
    ("GET", VERSION, {}, READERS),
    ("GET", VERSION + "/changes", {}, READERS),
    ("POST", TRIP + "/versions", {"json": {"name": "day one"}}, EDITORS),
    ("POST", TRIP + "/versions", {"json": {"name": "day one", "pinned": True}}, OWNERS),
    ("PATCH", VERSION, {"json": {"name": "day two"}}, EDITORS),
    ("PATCH", VERSION, {"json": {"pinned": False}}, OWNERS),
    ("POST", TRIP + "/restore", {"json": {"version": "n1"}}, OWNERS),
    ("DELETE", VERSION, {}, OWNERS),
    ("GET", TRIP + "/archive", {}, OWNERS),
    ("POST", TRIP + "/archive", {"content": b"", "headers": {"content-type": MEDIA_TYPE}}, OWNERS),
    ("POST", TRIP + "/revive", {}, OWNERS),
    ("DELETE", TRIP, {}, OWNERS),
    ("POST", "/v1/access/revoke", {"json": {"user": "bob"}}, EVERYWHERE),
    ("GET", "/v1/access/revocations", {}, EVERYWHERE),
]


def expected_of(token: str, allowed: tuple[str, ...]) -> bool:
    """Whether this token opens it; one that speaks of all rooms is like one for this room."""
    return token in allowed or (allowed is not EVERYWHERE and token.removesuffix("@*") in allowed)


@pytest.mark.parametrize(("method", "url", "body", "allowed"), ROUTES)
async def test_each_route_takes_the_role_that_it_says(
    home: House,
    api: httpx.AsyncClient,
    method: str,
    url: str,
    body: dict[str, Any],
    allowed: tuple[str, ...],
) -> None:
    async def ask(headers: dict[str, str]) -> int:
        options = {**body, "headers": {**body.get("headers", {}), **headers}}
        return (await api.request(method, url, **options)).status_code

    await written(home)
    assert await ask({}) == 401
    assert await ask(bearer("forged")) == 401
    refused = [token for token in TOKENS if not expected_of(token, allowed)]
    assert {token: await ask(bearer(token)) for token in refused} == dict.fromkeys(refused, 403)
    assert (await api.get(TRIP, headers=bearer("viewer"))).status_code == 200
    for token in (*(token for token in TOKENS if expected_of(token, allowed)), ADMIN):
        assert await ask(bearer(token)) not in {401, 403, 500}, token


async def test_no_route_stands_outside_of_the_table(api: httpx.AsyncClient) -> None:
    schema = (await api.get("/openapi.json")).json()
    there = {
        (method.upper(), path)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if operation["security"] == [{"bearer": []}, {"query": []}]
    }
    assert there == {
        (method.upper(), path) for path, operations in schema["paths"].items() for method in operations
    }
    in_table = {
        (method, url.partition("?")[0].replace("/trip", "/{room}").replace("/n1", "/{version}"))
        for method, url, _, _ in ROUTES
    }
    assert there == in_table


async def test_the_schema_says_how_a_token_is_given_and_that_it_may_be_missing_where_it_may(
    api: httpx.AsyncClient, gatekeeper: Guests, home: House
) -> None:
    schemes = (await api.get("/openapi.json")).json()["components"]["securitySchemes"]
    assert schemes["bearer"] == {"type": "http", "scheme": "bearer", "description": "a token"}
    assert (schemes["query"]["in"], schemes["query"]["name"]) == ("query", "token")

    gatekeeper.admits_anonymous = True
    app = public_app(home.documents, InPlace(), Settings(), doors=doors(gatekeeper))
    for _ in range(2):
        read = app.openapi()["paths"]["/v1/documents/{room}"]["get"]
        assert read["security"] == [{}, {"bearer": []}, {"query": []}]


async def test_who_is_not_known_is_told_how_to_come_and_who_may_not_why(
    home: House, api: httpx.AsyncClient
) -> None:
    await written(home)
    missing = await api.get(TRIP)
    assert error_of(missing) == (401, "not_authenticated")
    assert missing.headers["www-authenticate"] == "Bearer"
    refused = await api.delete(TRIP, headers=bearer("editor"))
    assert error_of(refused) == (403, "forbidden")
    assert refused.json()["error"]["message"] == "this takes the role owner, not editor"
    assert error_of(await api.get(TRIP, headers=bearer("busy"))) == (503, "unavailable")
    assert error_of(await api.get(TRIP, headers=bearer("flood"))) == (429, "rate_limited")


async def test_a_document_that_one_may_not_see_cannot_be_told_from_one_that_is_not_there(
    home: House, api: httpx.AsyncClient
) -> None:
    await written(home)
    there = await api.get(TRIP, headers=bearer("viewer@other"))
    nowhere = await api.get("/v1/documents/nowhere", headers=bearer("viewer@other"))
    assert (there.status_code, there.json()) == (nowhere.status_code, nowhere.json())


async def test_a_token_may_come_in_the_query_too(home: House, api: httpx.AsyncClient) -> None:
    await written(home)
    assert (await api.get(TRIP + "?token=viewer")).status_code == 200
    assert (await api.get(TRIP, params={"token": ADMIN})).status_code == 200


async def test_the_room_of_the_path_is_the_one_that_is_asked_for(home: House, api: httpx.AsyncClient) -> None:
    await written(home)
    for url in ("/v1/documents/trip/versions", "/v1/documents/tr%69p/versions"):
        assert (await api.get(url, headers=bearer("viewer@trip"))).status_code == 200
    for url in (
        "/v1/documents/trip%2Fversions",
        "/v1/documents/trip/x/versions",
        "/v1/documents/x/../trip/y",
        "/v1/documents/TRIP",
        "/v1/documents/%2A",
    ):
        assert (await api.get(url, headers=bearer("viewer@trip"))).status_code == 403, url


async def test_the_gatekeeper_is_told_from_where_a_request_comes(
    api: httpx.AsyncClient, gatekeeper: Guests
) -> None:
    await api.get(TRIP, headers={**bearer("viewer"), "Origin": "https://app.example.com"})
    (caller,) = gatekeeper.callers
    assert (caller.address, caller.is_loopback, caller.origin) == (
        "192.0.2.7",
        False,
        "https://app.example.com",
    )


async def test_a_version_and_a_restore_carry_the_name_of_who_made_them(
    home: House, api: httpx.AsyncClient
) -> None:
    await written(home)
    made = await api.post(TRIP + "/versions", json={"name": "v"}, headers=bearer("editor"))
    assert made.json()["authors"] == ["ada"]
    anybody = await api.post(TRIP + "/versions", json={"name": "v"}, headers=bearer(ADMIN))
    assert anybody.json()["authors"] == []
    bob = await home.enter("trip", user_id="bob")
    bob.write(" two")
    bob.host.flush()
    await until(lambda: bob.host.is_saved)
    back = await api.post(TRIP + "/restore", json={"version": made.json()["id"]}, headers=bearer("owner"))
    assert back.json() == {"restored": True}
    found = (await api.get(TRIP + "/versions", headers=bearer("viewer"))).json()["versions"]
    assert [line["authors"] for line in found if line["kind"] == "automatic"] == [["ada"], ["bob"], ["ada"]]


async def test_everything_that_must_be_accounted_for_is_in_the_audit_log(
    home: House, api: httpx.AsyncClient, audit: AuditLog, tmp_path: Path
) -> None:
    await written(home)
    owner = bearer("owner@*")
    made = (await api.post(TRIP + "/versions", json={"name": "v"}, headers=owner)).json()["id"]
    archive = (await api.get(TRIP + "/archive", headers=owner)).content
    await api.post(TRIP + "/restore", json={"version": made}, headers=owner)
    await api.post(TRIP + "/restore", json={"version": "n999"}, headers=owner)
    await api.delete(f"{TRIP}/versions/{made}", headers=owner)
    await api.delete(TRIP, headers=owner)
    await api.post(TRIP + "/revive", headers=owner)
    kind = {"content-type": MEDIA_TYPE}
    await api.post(TRIP + "/archive", content=archive, headers={**owner, **kind})
    await api.post("/v1/access/revoke", json={"user": "bob", "room": "trip"}, headers=owner)
    await api.delete(TRIP, headers=bearer("viewer"))
    await api.delete(TRIP, headers=bearer("a-forged-token"))
    await api.get("/v1/documents", headers=bearer(ADMIN))
    audit.close()

    text = (tmp_path / "audit.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    ada = {"user": "ada", "name": "Ada", "session": "s1"}
    assert [(line["event"], line["result"], line["who"], line["what"]) for line in lines] == [
        ("export", "ok", ada, {"room": "trip"}),
        ("restore", "ok", ada, {"room": "trip", "version": made}),
        ("restore", "failed", ada, {"room": "trip", "version": "n999"}),
        ("delete", "ok", ada, {"room": "trip", "version": made}),
        ("delete", "ok", ada, {"room": "trip"}),
        ("revive", "ok", ada, {"room": "trip"}),
        ("import", "ok", ada, {"room": "trip"}),
        ("revocation", "ok", ada, {"user": "bob", "room": "trip"}),
        (
            "refusal",
            "refused",
            ada,
            {"room": "trip", "action": "DELETE /v1/documents/{room:path}", "code": 4403},
        ),
        (
            "refusal",
            "refused",
            None,
            {"room": "trip", "action": "DELETE /v1/documents/{room:path}", "code": 4401},
        ),
    ]
    assert {line["from"] for line in lines} == {"192.0.2.7"}
    assert lines[2]["reason"] == "there is no version 'n999'"
    assert "forged" not in text
    assert ADMIN not in text


async def test_a_revocation_names_somebody_and_is_listed_afterwards(
    home: House, api: httpx.AsyncClient
) -> None:
    admin = bearer(ADMIN)
    for body in ({}, {"user": None}, {"user": ""}, {"user": 5}, {"users": "x"}, {"room": "x" * 2000}):
        assert (await api.post("/v1/access/revoke", json=body, headers=admin)).status_code == 422, body
    surrogate = b'{"user": "\\ud800"}'
    answer = await api.post(
        "/v1/access/revoke", content=surrogate, headers={**admin, "content-type": "application/json"}
    )
    assert answer.status_code == 422
    asked = [{"user": "bob"}, {"session": "s9"}, {"user": "bob", "room": "trip"}, {"room": "trip"}]
    made = [(await api.post("/v1/access/revoke", json=body, headers=admin)).json() for body in asked]
    assert made[2] == {
        "id": made[2]["id"],
        "user": "bob",
        "session": None,
        "room": "trip",
        "at": "2025-06-15T15:06:40.000Z",
        "at_ms": 1_750_000_000_000,
        "until": "2025-06-16T15:06:40.000Z",
        "until_ms": 1_750_086_400_000,
    }
    first = (await api.get("/v1/access/revocations?limit=3", headers=admin)).json()
    assert first == {"revocations": made[:3], "next": made[2]["id"]}
    rest = (await api.get(f"/v1/access/revocations?after={first['next']}", headers=admin)).json()
    assert rest == {"revocations": made[3:], "next": None}


async def test_revocations_are_bounded_and_none_is_made_that_the_store_did_not_take(
    home: House, api: httpx.AsyncClient
) -> None:
    admin = bearer(ADMIN)
    with_fault = home.store.fail_before("add_revocation")
    answer = await api.post("/v1/access/revoke", json={"user": "u"}, headers=admin)
    assert error_of(answer) == (503, "unavailable")
    with_fault.clear()
    for n in range(5):
        assert (await api.post("/v1/access/revoke", json={"user": f"u{n}"}, headers=admin)).status_code == 200
    full = await api.post("/v1/access/revoke", json={"user": "one more"}, headers=admin)
    assert error_of(full) == (503, "unavailable")
    assert "revocations_max" in full.json()["error"]["message"]


async def test_without_a_gatekeeper_that_asks_for_tokens_all_is_open(home: House) -> None:
    app = public_app(home.documents, InPlace(), Settings(), home.history, home.archives, doors=doors())
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    await written(home)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.get("/v1/documents")).status_code == 200
        assert (await client.delete(TRIP)).status_code == 204
    assert ANONYMOUS.user_id is None


async def test_what_was_cut_off_in_the_middle_is_in_the_audit_log_too(
    home: House, api: httpx.AsyncClient, audit: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(home)
    begun = asyncio.Event()

    async def never(room: str) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return room.encode()

    monkeypatch.setattr(home.archives, "export", never)
    request = asyncio.create_task(api.get(TRIP + "/archive", headers=bearer("owner")))
    await begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    audit.close()

    (line,) = (json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (line["event"], line["result"], line["reason"]) == ("export", "failed", "cut off before its end")
    assert line["who"]["user"] == "ada"
