from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pycrdt import Doc, Text

from collab_server.api.public import public_app
from collab_server.config import Settings
from collab_server.errors import BusyError, CloseCode, GoneError
from collab_server.views.pool import ViewFailedError
from tests.unit.api.support import FakeDocuments, InPlace, doors


def paris() -> bytes:
    doc: Doc[Any] = Doc(client_id=1)
    doc["title"] = Text("Paris")
    return doc.get_update()


@pytest.fixture
def documents() -> FakeDocuments:
    return FakeDocuments(trip=paris())


@pytest.fixture
def workers() -> InPlace:
    return InPlace()


@pytest_asyncio.fixture
async def client(documents: FakeDocuments, workers: InPlace) -> AsyncIterator[httpx.AsyncClient]:
    app = public_app(documents, workers, Settings(), doors=doors())
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_document_is_json_by_default(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/documents/trip")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"title": "Paris"}


async def test_rich_json_is_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/documents/trip", params={"rich": "true"})
    assert answer.json() == {"title": {"$text": [{"insert": "Paris"}]}}


@pytest.mark.parametrize(
    "how",
    [
        {"params": {"format": "update"}},
        {"headers": {"accept": "application/octet-stream"}},
    ],
)
async def test_the_update_comes_byte_for_byte(client: httpx.AsyncClient, how: dict[str, Any]) -> None:
    answer = await client.get("/v1/documents/trip", **how)
    assert answer.content == paris()
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_the_state_vector_is_yjs_own(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/documents/trip?format=state-vector")
    assert answer.content == bytes([1, 1, 5])


async def test_an_unknown_format_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/documents/trip?format=xml")
    assert error_of(answer) == (422, "invalid_request")
    assert "json, update, state-vector" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("a/b/c", "a/b/c"),
        ("a%2Fb", "a/b"),
        ("a/", "a/"),
        ("%E6%97%A5%E6%9C%AC%20%F0%9F%98%80", "日本 😀"),
        ("100%25%3F", "100%?"),
        ("a//b", "a//b"),
        ("a%2F..%2Fb", "a/../b"),
        ("versions", "versions"),
    ],
)
async def test_any_room_name_can_be_read_probed_and_deleted(
    client: httpx.AsyncClient, documents: FakeDocuments, path: str, room: str
) -> None:
    documents.rooms[room] = paris()
    url = httpx.URL("http://test", raw_path=f"/v1/documents/{path}".encode())
    assert (await client.get(url)).json() == {"title": "Paris"}
    probed = await client.head(url)
    assert (probed.status_code, probed.headers["x-document-bytes"]) == (200, str(len(paris())))
    assert (await client.delete(url)).status_code == 204
    assert room not in documents.rooms
    assert error_of(await client.get(url)) == (404, "unknown_document")
    assert (await client.head(url)).status_code == 404


@pytest.mark.parametrize("path", ["", "%FF%FE", "a" * 513, "%F0%9F%98%80" * 129, "a%00b"])
async def test_a_name_that_no_room_can_have_is_refused(client: httpx.AsyncClient, path: str) -> None:
    assert error_of(await client.get(f"/v1/documents/{path}")) == (400, "bad_room")


async def test_a_name_of_the_full_length_is_a_name(client: httpx.AsyncClient) -> None:
    assert error_of(await client.get("/v1/documents/" + "a" * 512)) == (404, "unknown_document")


async def test_deleting_twice_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/v1/documents/trip")).status_code == 204
    assert error_of(await client.delete("/v1/documents/trip")) == (404, "unknown_document")


async def test_the_list_is_paged_to_its_end(client: httpx.AsyncClient, documents: FakeDocuments) -> None:
    documents.rooms = {f"trip-{n}": b"\0\0" for n in range(5)} | {"other": b"\0\0"}
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        params: dict[str, str] = {"limit": "2", "after": after, "prefix": "trip-"}
        page = (await client.get("/v1/documents", params=params)).json()
        seen += [entry["room"] for entry in page["documents"]]
        after = page["next"]
    assert seen == [f"trip-{n}" for n in range(5)]


async def test_a_line_of_the_list_says_size_and_times(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/documents")).json() == {
        "documents": [
            {
                "room": "trip",
                "bytes": len(paris()),
                "updates": 1,
                "created_at_ms": 1000,
                "changed_at_ms": 2000,
            }
        ],
        "next": None,
    }


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x"])
async def test_a_bad_page_size_is_one_clear_error(client: httpx.AsyncClient, query: str) -> None:
    answer = await client.get(f"/v1/documents?{query}")
    assert error_of(answer) == (422, "invalid_request")
    assert answer.json()["error"]["message"].startswith("limit: should be")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (BusyError("the store is away", CloseCode.STORE_UNAVAILABLE), 503, "unavailable"),
        (GoneError("the document was deleted"), 410, "deleted"),
        (RuntimeError("secret detail"), 500, "internal_error"),
    ],
)
async def test_a_fault_behind_the_api_has_its_own_answer(
    client: httpx.AsyncClient, documents: FakeDocuments, fault: Exception, status: int, code: str
) -> None:
    documents.fault = fault
    answer = await client.get("/v1/documents/trip")
    assert error_of(answer) == (status, code)
    assert "secret detail" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    ("reason", "status"), [("full", 503), ("timeout", 504), ("died", 500), ("error", 500)]
)
async def test_a_worker_that_fails_has_its_own_answer(
    client: httpx.AsyncClient, workers: InPlace, reason: str, status: int
) -> None:
    workers.fault = ViewFailedError(reason, "as it went")
    answer = await client.get("/v1/documents/trip")
    assert error_of(answer) == (status, f"view_{reason}")
    assert "as it went" in answer.json()["error"]["message"]


async def test_an_unknown_path_and_method_are_told_in_the_same_shape(client: httpx.AsyncClient) -> None:
    assert error_of(await client.get("/v2/x")) == (404, "not_found")
    answer = await client.post("/v1/documents/trip")
    assert error_of(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD, DELETE"


async def test_the_interface_is_described(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {"/v1/documents", "/v1/documents/{room}", "/v1/documents/{room}/revive"}


async def test_no_page_asks_the_internet_for_code(client: httpx.AsyncClient) -> None:
    assert (await client.get("/docs")).status_code == 404
    assert (await client.get("/redoc")).status_code == 404


async def test_the_documents_api_can_be_turned_off() -> None:
    app = public_app(FakeDocuments(trip=paris()), InPlace(), Settings(documents_api=False), doors=doors())
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert error_of(await client.get("/v1/documents/trip")) == (404, "not_found")
