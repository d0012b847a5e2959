from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pycrdt import Doc, Text

from collab_server.api.archives import TRANSFERS_MAX
from collab_server.api.public import public_app
from collab_server.api.times import iso, moment_ms
from collab_server.config import Settings
from collab_server.errors import ViewError
from collab_server.hosting.settings import HistorySettings
from persistence.history import SegmentRule
from tests.unit.api.support import doors
from tests.unit.api.test_documents import error_of
from tests.unit.hosting.house import Client, House, InPlace, house, until

TRIP = "/v1/documents/trip"
AT_MS = 1_800_000_000_000


@pytest_asyncio.fixture
async def home() -> AsyncIterator[House]:
    async with house(history_settings=HistorySettings(rule=SegmentRule(1), settle_timeout_s=2)) as home:
        home.clock.now_ms = AT_MS
        yield home


@pytest_asyncio.fixture
async def api(home: House) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(archive_bytes_max=1024 * 1024)
    app = public_app(home.documents, InPlace(), settings, home.history, home.archives, doors=doors())
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest_asyncio.fixture
async def ada(home: House) -> Client:
    """Somebody who has written "one" and " two" into the room "trip", a second apart."""
    ada = await home.enter("trip", user_id="ada")
    for text in ("one", " two"):
        await write(home, ada, text)
        home.clock.now_ms += 1000
    return ada


async def write(home: House, client: Client, text: str) -> None:
    client.write(text)
    client.host.flush()
    await until(lambda: client.host.is_saved)


async def ids(api: httpx.AsyncClient, url: str = TRIP) -> list[str]:
    answer = await api.get(url + "/versions")
    assert answer.status_code == 200, answer.text
    return [line["id"] for line in answer.json()["versions"]]


async def test_versions_are_listed_newest_first_with_all_that_is_known(
    api: httpx.AsyncClient, ada: Client
) -> None:
    found = (await api.get(f"{TRIP}/versions")).json()
    assert found["next"] is None
    newest, first = found["versions"]
    assert newest == {
        "id": newest["id"],
        "kind": "automatic",
        "name": None,
        "pinned": False,
        "at": "2027-01-15T08:00:01.000Z",
        "at_ms": AT_MS + 1000,
        "since_ms": AT_MS + 1000,
        "authors": ["ada"],
        "updates": 1,
        "bytes": newest["bytes"],
    }
    assert first["at_ms"] == AT_MS


async def test_pages_are_followed_by_their_cursor(api: httpx.AsyncClient, ada: Client) -> None:
    page = (await api.get(f"{TRIP}/versions?limit=1")).json()
    rest = (await api.get(f"{TRIP}/versions", params={"limit": 1, "cursor": page["next"]})).json()
    assert [page["versions"][0]["id"], rest["versions"][0]["id"]] == await ids(api)
    assert rest["next"] is None


async def test_a_version_is_given_out_in_every_form(api: httpx.AsyncClient, ada: Client) -> None:
    newest, first = await ids(api)
    answer = await api.get(f"{TRIP}/versions/{first}")
    assert answer.json() == {"t": "one"}
    assert (answer.headers["x-version-id"], answer.headers["x-version-at"]) == (
        first,
        "2027-01-15T08:00:00.000Z",
    )
    doc: Doc[Any] = Doc()
    doc.apply_update((await api.get(f"{TRIP}/versions/{first}?format=update")).content)
    assert str(doc.get("t", type=Text)) == "one"
    vector = (await api.get(f"{TRIP}/versions/{first}?format=state-vector")).content
    assert vector == doc.get_state()
    assert (await api.get(f"{TRIP}/versions/{newest}?rich=true")).json() == {
        "t": {"$text": [{"insert": "one two"}]}
    }
    assert error_of(await api.get(f"{TRIP}/versions/{first}?format=xml")) == (422, "invalid_request")


@pytest.mark.parametrize(
    "at",
    [
        str(AT_MS + 500),
        "2027-01-15T08:00:00.5Z",
        "2027-01-15T08:00:00.500",
        "2027-01-15T10:00:00.500+02:00",
        "2027-01-15 08:00:00.500",
    ],
)
async def test_a_document_is_given_out_as_it_was_at_a_time(
    api: httpx.AsyncClient, ada: Client, at: str
) -> None:
    assert (await api.get(TRIP, params={"at": at})).json() == {"t": "one"}
    assert (await api.get(f"{TRIP}?at={at}")).json() == {"t": "one"}  # a plus sign as it stands
    assert (await api.get(TRIP)).json() == {"t": "one two"}


async def test_a_time_before_the_history_is_told_as_such(api: httpx.AsyncClient, ada: Client) -> None:
    assert error_of(await api.get(f"{TRIP}?at=5")) == (404, "before_history")
    assert error_of(await api.get("/v1/documents/none?at=5")) == (404, "unknown_document")


@pytest.mark.parametrize("at", ["", "yesterday", "-1", "9" * 16, "2027-13-01", "1" * 41, "1e3", "\u0661"])
async def test_a_time_that_is_none_is_one_clear_error(api: httpx.AsyncClient, ada: Client, at: str) -> None:
    answer = await api.get(TRIP, params={"at": at})
    assert error_of(answer) == (422, "invalid_request")
    assert answer.json()["error"]["message"].startswith("at: ")


def test_moments_are_read_as_they_are_written() -> None:
    assert moment_ms(iso(AT_MS + 7)) == AT_MS + 7
    assert moment_ms(5) == 5


async def test_what_changed_is_told_against_the_version_before_or_another(
    api: httpx.AsyncClient, ada: Client
) -> None:
    newest, first = await ids(api)
    found = (await api.get(f"{TRIP}/versions/{newest}/changes")).json()
    assert (found["since"], found["to"], found["authors"]) == (first, newest, ["ada"])
    assert found["counts"]["inserted"] == 4
    for query in (f"{newest}/changes?since={first}", f"{first}/changes?to=current", "current/changes"):
        assert (await api.get(f"{TRIP}/versions/{query}")).json() == found
    whole = (await api.get(f"{TRIP}/versions/{newest}/changes?since=start")).json()
    assert (whole["since"], len(whole["roots"])) == ("start", 1)
    both = await api.get(f"{TRIP}/versions/{newest}/changes?since={first}&to=current")
    assert error_of(both) == (422, "invalid_request")
    assert error_of(await api.get(f"{TRIP}/versions/s999/changes")) == (404, "unknown_version")


async def test_a_version_is_named_renamed_pinned_and_deleted(api: httpx.AsyncClient, ada: Client) -> None:
    made = await api.post(f"{TRIP}/versions", json={"name": "first plan", "pinned": True})
    assert made.status_code == 201
    line = made.json()
    assert (line["kind"], line["name"], line["pinned"]) == ("named", "first plan", True)
    assert (await ids(api))[0] == line["id"]
    url = f"{TRIP}/versions/{line['id']}"
    assert (await api.get(url)).json() == {"t": "one two"}
    changed = await api.patch(url, json={"name": "plan"})
    assert (changed.json()["name"], changed.json()["pinned"]) == ("plan", True)
    assert not (await api.patch(url, json={"pinned": False})).json()["pinned"]
    assert (await api.delete(url)).status_code == 204
    assert error_of(await api.delete(url)) == (404, "unknown_version")
    assert error_of(await api.patch(url, json={"name": "x"})) == (404, "unknown_version")


async def test_an_automatic_version_stays_as_it_is(api: httpx.AsyncClient, ada: Client) -> None:
    url = f"{TRIP}/versions/{(await ids(api))[0]}"
    assert error_of(await api.delete(url)) == (409, "automatic_version")
    assert error_of(await api.patch(url, json={"pinned": True})) == (409, "automatic_version")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x", "pinned": "yes"}, "pinned"),
        ({"name": "x", "owner": "me"}, "owner"),
        ([], "body"),
    ],
)
async def test_a_bad_name_is_one_clear_error(
    api: httpx.AsyncClient, ada: Client, body: Any, word: str
) -> None:
    answer = await api.post(f"{TRIP}/versions", json=body)
    assert error_of(answer) == (422, "invalid_request")
    assert answer.json()["error"]["message"].startswith(f"{word}: ")
    assert all(version.startswith("s") for version in await ids(api))


async def test_a_body_that_is_no_json_is_refused(api: httpx.AsyncClient, ada: Client) -> None:
    send = {"content-type": "application/json"}
    url = f"{TRIP}/versions"
    for data in (b"", b"{", b"\xff", b'{"name": "\\ud800"}', b"[" * 60_000):
        assert error_of(await api.post(url, content=data, headers=send)) == (422, "invalid_request")
    assert error_of(await api.post(url, content=b'{"name":"x"}')) == (415, "unsupported_media_type")
    assert error_of(await api.post(url, data={"name": "x"})) == (415, "unsupported_media_type")
    assert error_of(await api.post(url, content=b" " * 70_000, headers=send)) == (413, "too_large")
    patched = await api.patch(f"{url}/v1", json={})
    assert error_of(patched) == (422, "invalid_request")


async def test_a_body_without_a_length_is_bounded_too(api: httpx.AsyncClient, ada: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 10_000

    headers = {"content-type": "application/json"}
    answer = await api.post(f"{TRIP}/restore", content=endless(), headers=headers)
    assert error_of(answer) == (413, "too_large")


@pytest.mark.parametrize("how", ["version", "moment", "milliseconds"])
async def test_a_restore_is_seen_by_those_who_are_there(
    api: httpx.AsyncClient, ada: Client, how: str
) -> None:
    first = (await ids(api))[1]
    body = {
        "version": {"version": first},
        "moment": {"at": "2027-01-15T08:00:00.5Z"},
        "milliseconds": {"at": AT_MS + 500},
    }[how]
    assert (await api.post(f"{TRIP}/restore", json=body)).json() == {"restored": True}
    assert str(ada.text) == "one"
    assert (await api.post(f"{TRIP}/restore", json=body)).json() == {"restored": False}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"version": "s1", "at": 5},
        {"version": 5},
        {"at": []},
        {"at": 1.5},
        {"at": "soon"},
        {"version": ""},
    ],
)
async def test_a_restore_to_nowhere_is_one_clear_error(
    api: httpx.AsyncClient, ada: Client, body: Any
) -> None:
    assert error_of(await api.post(f"{TRIP}/restore", json=body)) == (422, "invalid_request")
    assert str(ada.text) == "one two"


async def test_a_restore_that_a_worker_fails_over_changes_nothing(
    api: httpx.AsyncClient, home: House, ada: Client
) -> None:
    first = (await ids(api))[1]

    class Failing(InPlace):
        async def run(self, function, /, *args):  # type: ignore[no-untyped-def]
            if function.__name__ == "restore":
                raise ViewError("it harmed itself")
            return function(*args)

    home.history._patient_workers = Failing()
    answer = await api.post(f"{TRIP}/restore", json={"version": first})
    assert error_of(answer) == (500, "internal_error")
    assert str(ada.text) == "one two"


@pytest.mark.parametrize(
    ("segment", "room"),
    [
        ("a%2Fb", "a/b"),
        ("%E6%97%A5%E6%9C%AC%20%F0%9F%98%80", "日本 😀"),
        ("100%25%3F", "100%?"),
        ("a%2Fversions", "a/versions"),
        ("versions", "versions"),
        ("a%252Fb", "a%2Fb"),
    ],
)
async def test_a_rooms_name_is_one_segment_whatever_is_in_it(
    api: httpx.AsyncClient, home: House, segment: str, room: str
) -> None:
    await write(home, await home.enter(room), "hello")
    url = httpx.URL("http://test", raw_path=f"/v1/documents/{segment}/versions".encode())
    (version,) = (await api.get(url)).json()["versions"]
    url = httpx.URL("http://test", raw_path=f"/v1/documents/{segment}/versions/{version['id']}".encode())
    assert (await api.get(url)).json() == {"t": "hello"}
    url = httpx.URL("http://test", raw_path=f"/v1/documents/{segment}".encode())
    assert (await api.get(url)).json() == {"t": "hello"}


async def test_what_belongs_to_a_document_is_never_taken_for_a_document(
    api: httpx.AsyncClient, home: House, ada: Client
) -> None:
    await write(home, await home.enter("trip/versions"), "another")
    for path in ("versions", "versions/v1", "versions/v1/changes", "restore", "archive", "revive"):
        answer = await api.put(f"{TRIP}/{path}")
        assert error_of(answer) == (405, "method_not_allowed"), path
    assert error_of(await api.delete(f"{TRIP}/versions")) == (405, "method_not_allowed")
    assert (await api.get("/v1/documents/trip%2Fversions")).json() == {"t": "another"}
    assert error_of(await api.get("/v1/documents/trip/versions/v1/other")) == (404, "unknown_document")


@pytest.mark.parametrize(
    "path", ["%FF/versions", "a" * 513 + "/versions", "%FF/archive", "%FF/revive", "%00/archive"]
)
async def test_a_name_that_no_room_can_have_is_refused(api: httpx.AsyncClient, path: str) -> None:
    call = api.post if path.endswith("revive") else api.get
    assert error_of(await call(f"/v1/documents/{path}")) == (400, "bad_room")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "cursor=" + "1" * 65])
async def test_a_bad_page_is_one_clear_error(api: httpx.AsyncClient, ada: Client, query: str) -> None:
    assert error_of(await api.get(f"{TRIP}/versions?{query}")) == (422, "invalid_request")


async def test_an_archive_goes_out_and_comes_in_under_another_name(
    api: httpx.AsyncClient, home: House, ada: Client
) -> None:
    await api.post(f"{TRIP}/versions", json={"name": "first plan", "pinned": True})
    answer = await api.get(f"{TRIP}/archive")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''trip.zip"
    url = "/v1/documents/copy%2F1"
    send = {"content-type": "application/zip"}
    made = await api.post(f"{url}/archive", content=answer.content, headers=send)
    assert (made.status_code, made.json()["room"], made.json()["versions"]) == (201, "copy/1", 1)
    assert (await api.get(url)).json() == {"t": "one two"}
    before = (await api.get(f"{TRIP}/versions")).json()["versions"]
    after = (await api.get(f"{url}/versions")).json()["versions"]
    assert [{**line, "id": 0} for line in after] == [{**line, "id": 0} for line in before]
    assert (await api.get(f"{url}/versions/{after[-1]['id']}")).json() == {"t": "one"}
    again = await api.post(f"{url}/archive", content=answer.content, headers=send)
    assert error_of(again) == (409, "document_exists")
    await api.delete(url)
    again = await api.post(f"{url}/archive", content=answer.content, headers=send)
    assert error_of(again) == (410, "deleted")
    again = await api.post(f"{url}/archive?revive=true", content=answer.content, headers=send)
    assert again.status_code == 201


async def test_an_archive_that_is_none_or_too_large_is_refused(api: httpx.AsyncClient) -> None:
    url, send = "/v1/documents/new/archive", {"content-type": "application/zip"}
    assert error_of(await api.post(url, content=b"PK", headers=send)) == (422, "bad_archive")
    assert error_of(await api.post(url, content=b"\0" * (1 << 21), headers=send)) == (413, "too_large")
    assert error_of(await api.post(url, content=b"PK")) == (415, "unsupported_media_type")
    assert error_of(await api.get(url)) == (404, "unknown_document")
    assert error_of(await api.get("/v1/documents/new/versions")) == (404, "unknown_document")


async def test_only_so_many_archives_are_on_their_way_at_once(
    api: httpx.AsyncClient, home: House, ada: Client
) -> None:
    stall = home.store.stall("dump")
    waiting = [home_task(api) for _ in range(TRANSFERS_MAX)]
    await stall.reached.wait()
    await until(lambda: stall.hits == TRANSFERS_MAX)
    refused = await api.get(f"{TRIP}/archive")
    assert error_of(refused) == (503, "unavailable")
    assert "retry-after" in refused.headers
    stall.clear()
    for task in waiting:
        assert (await task).status_code == 200
    assert (await api.get(f"{TRIP}/archive")).status_code == 200


def home_task(api: httpx.AsyncClient) -> Any:
    import asyncio

    return asyncio.create_task(api.get(f"{TRIP}/archive"))


async def test_a_deleted_documents_name_is_used_again_when_that_is_asked_for(
    api: httpx.AsyncClient, home: House, ada: Client
) -> None:
    await api.delete(TRIP)
    for path in ("/versions", "/versions/s1", "/archive"):
        assert error_of(await api.get(TRIP + path)) == (410, "deleted")
    assert (await api.post(f"{TRIP}/revive")).status_code == 204
    assert error_of(await api.get(f"{TRIP}/versions")) == (404, "unknown_document")
    await write(home, await home.enter("trip"), "new")
    assert (await api.get(TRIP)).json() == {"t": "new"}


async def test_the_interface_is_described(api: httpx.AsyncClient) -> None:
    schema = (await api.get("/openapi.json")).json()
    room = "/v1/documents/{room}"
    assert set(schema["paths"]) == {
        "/v1/documents",
        room,
        f"{room}/versions",
        f"{room}/versions/{{version}}",
        f"{room}/versions/{{version}}/changes",
        f"{room}/restore",
        f"{room}/archive",
        f"{room}/revive",
    }
    assert "requestBody" in schema["paths"][f"{room}/restore"]["post"]
    assert {"404", "410", "422", "503"} <= set(schema["paths"][f"{room}/versions"]["get"]["responses"])
    assert json.dumps(schema).count('"$defs"') == 0
