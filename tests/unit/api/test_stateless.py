"""Messages from the server's API to those who are in a document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from collab_server.api.public import public_app
from collab_server.config import Settings
from tests.unit.api.support import FakeDocuments, InPlace, doors

Posted = tuple[str, str, str | None, str | None]


class FakePosting:
    def __init__(self) -> None:
        self.posted: list[Posted] = []

    def announce(
        self, room: str, payload: str, *, user: str | None = None, session: str | None = None
    ) -> int:
        self.posted.append((room, payload, user, session))
        return 3


@pytest.fixture
def posting() -> FakePosting:
    return FakePosting()


@pytest_asyncio.fixture
async def client(posting: FakePosting) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(stateless_bytes_max=1024)
    app = public_app(FakeDocuments(), InPlace(), settings, doors=doors(), posting=posting)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("body", "posted"),
    [
        ({"payload": "hi 🌍"}, ("a/b", "hi 🌍", None, None)),
        ({"payload": "", "to": None}, ("a/b", "", None, None)),
        ({"payload": "\0" * 1024, "to": {"user": "ann"}}, ("a/b", "\0" * 1024, "ann", None)),
        ({"payload": "x", "to": {"session": "s1"}}, ("a/b", "x", None, "s1")),
    ],
)
async def test_a_message_is_brought_to_those_whom_it_is_for(
    client: httpx.AsyncClient, posting: FakePosting, body: dict[str, Any], posted: Posted
) -> None:
    answer = await client.post("/v1/documents/a%2Fb/stateless", json=body)
    assert (answer.status_code, answer.json()) == (202, {"members": 3})
    assert posting.posted == [posted]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 422),
        (b'{"payload": 1}', 422),
        (b'{"payload": "x", "to": {}}', 422),
        (b'{"payload": "x", "to": {"user": "a", "session": "b"}}', 422),
        (b'{"payload": "x", "too": {"user": "a"}}', 422),
        (b'{"payload": "\\ud800"}', 422),
        (b'{"payload": "' + b"x" * 1025 + b'"}', 413),
        (b'{"payload": "' + b"x" * 100_000 + b'"}', 413),
    ],
)
async def test_what_is_no_message_is_refused(
    client: httpx.AsyncClient, posting: FakePosting, body: bytes, status: int
) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/v1/documents/trip/stateless", content=body, headers=headers)
    assert answer.status_code == status
    assert not posting.posted
