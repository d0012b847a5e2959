"""History as its users see it: a server process, clients on sockets, and the HTTP API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pycrdt
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from tests.support.postgres import shared_server
from tests.support.server import ServerProcess, start_server
from tests.support.yclient import YClient

TRIP = "/v1/documents/trip"
ZIP = {"content-type": "application/zip"}


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    if request.param == "sqlite":
        with start_server(checkpoint_after_updates=2) as server:
            yield server
        return
    database = asyncio.run(shared_server().create_database())
    try:
        with start_server(checkpoint_after_updates=2, store=shared_server().database_dsn(database)) as server:
            yield server
    finally:
        asyncio.run(shared_server().drop_database(database))


@pytest_asyncio.fixture
async def api(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with connected(server) as client:
        yield client


def connected(server: ServerProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http_url, timeout=30, trust_env=False)


async def write(client: YClient, *texts: str) -> None:
    """Write each of these in a commit of its own."""
    for text in texts:
        await client.write(text)
        await client.saved()


async def versions(api: httpx.AsyncClient, url: str = TRIP) -> list[dict[str, Any]]:
    answer = await api.get(f"{url}/versions")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["versions"]
    return found


async def text_at(api: httpx.AsyncClient, version: str, url: str = TRIP) -> str:
    answer = await api.get(f"{url}/versions/{version}?format=update")
    assert answer.status_code == 200, answer.text
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    doc.apply_update(answer.content)
    return str(doc.get("notes", type=pycrdt.Text))


async def test_versions_appear_while_people_edit_and_stay_what_they_were(
    server: ServerProcess, api: httpx.AsyncClient
) -> None:
    async with YClient(server.ws_url, "trip") as ada, YClient(server.ws_url, "trip") as bob:
        await write(ada, "a", "b", "c")
        assert [await text_at(api, line["id"]) for line in await versions(api)] == ["abc", "ab"]
        await bob.sees("abc")
        await write(bob, "d", "e")
        listed = await versions(api)
        assert [await text_at(api, line["id"]) for line in listed] == ["abcde", "abc", "ab"]
        assert [line["at_ms"] for line in listed] == sorted((line["at_ms"] for line in listed), reverse=True)
        del ada.text[0:3]
        await ada.flush()
        await ada.saved()
        assert await text_at(api, listed[0]["id"]) == "abcde"
        assert (await api.get(f"{TRIP}?at={listed[1]['at']}")).json() == {"notes": "abc"}
        assert (await api.get(TRIP)).json() == {"notes": str(ada.text)}


async def test_an_open_room_gets_versions_although_nobody_asks() -> None:
    with start_server(checkpoint_after_s=0.5) as server:
        async with YClient(server.ws_url, "trip") as ada:
            await write(ada, "a")
            async with asyncio.timeout(20):
                while not server.metric("collab_compactions_total"):  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.05)


async def test_the_difference_shows_what_was_written(server: ServerProcess, api: httpx.AsyncClient) -> None:
    async with YClient(server.ws_url, "trip", client_id=77) as ada:
        await write(ada, "Lisbon")
        (first,) = await versions(api)
        await write(ada, " in May")
        newest = (await versions(api))[0]
        found = (await api.get(f"{TRIP}/versions/{newest['id']}/changes")).json()
        assert (found["since"], found["to"]) == (first["id"], newest["id"])
        assert found["counts"]["inserted"] == len(" in May")
        assert found["clients"] == [{"client": 77, "inserted": len(" in May")}]


async def test_a_restore_is_seen_at_once_and_survives_a_kill(
    server: ServerProcess, api: httpx.AsyncClient
) -> None:
    async with YClient(server.ws_url, "trip") as ada, YClient(server.ws_url, "trip") as bob:
        await write(ada, "plan A")
        (version,) = await versions(api)
        await bob.sees("plan A")
        await write(bob, ", or not")
        answer = await api.post(f"{TRIP}/restore", json={"version": version["id"]})
        assert answer.json() == {"restored": True}
        # It was acknowledged: nothing may take it back.
        server.kill()
        await ada.until(lambda: str(ada.text) == "plan A")
        await bob.until(lambda: str(bob.text) == "plan A")
    server.start()
    async with YClient(server.ws_url, "trip") as reader:
        assert str(reader.text) == "plan A"
    states = [await text_at(api, line["id"]) for line in await versions(api)]
    assert states == ["plan A", "plan A, or not", "plan A"]


async def test_who_writes_while_others_restore_loses_nothing(
    server: ServerProcess, api: httpx.AsyncClient
) -> None:
    async with YClient(server.ws_url, "trip") as ada, YClient(server.ws_url, "trip") as bob:
        await write(ada, "keep ")
        (version,) = await versions(api)
        await write(ada, "drop ")
        await bob.sees("drop")
        restoring = [
            asyncio.create_task(api.post(f"{TRIP}/restore", json={"version": version["id"]}))
            for _ in range(3)
        ]
        words = [f"<{number}>" for number in range(60)]
        for word in words:
            await bob.write(word)
            await asyncio.sleep(0.005)
        for task in restoring:
            assert (await task).status_code == 200
        await bob.saved()
        await ada.until(lambda: words[-1] in str(ada.text) or len(str(ada.text)) == len("keep "))
        server_text = (await api.get(TRIP)).json()["notes"]
        await ada.until(lambda: str(ada.text) == server_text)
        await bob.until(lambda: str(bob.text) == server_text)
        assert server_text.startswith("keep ")
        assert "drop" not in server_text
        # What a restore knew of it removed again; what it did not know it left, in order.
        survived = [word for word in words if word in server_text]
        assert server_text == "keep " + "".join(survived)
        assert survived == words[len(words) - len(survived) :]


async def test_a_named_version_survives_a_restart(server: ServerProcess, api: httpx.AsyncClient) -> None:
    async with YClient(server.ws_url, "trip") as ada:
        await write(ada, "a")
        made = (await api.post(f"{TRIP}/versions", json={"name": "first plan", "pinned": True})).json()
        await write(ada, "b")
    server.restart()
    assert made in await versions(api)
    assert await text_at(api, made["id"]) == "a"


async def test_delete_means_delete(server: ServerProcess, api: httpx.AsyncClient) -> None:
    async with YClient(server.ws_url, "trip") as ada:
        await write(ada, "TOPSECRETWORD")
        await api.post(f"{TRIP}/versions", json={"name": "first plan", "pinned": True})
        assert (await api.delete(TRIP)).status_code == 204
        await ada.until(lambda: not ada.connected)
        assert ada.close_code == 4404
        for path in ("", "/versions", "/versions/s1", "/versions/v1", "/archive", "?at=5"):
            assert (await api.get(TRIP + path)).status_code == 410, path
        assert (await api.post(f"{TRIP}/restore", json={"at": 5})).status_code == 410
        with pytest.raises((AssertionError, ConnectionClosed)):  # closed while it greets
            await ada.open()
        assert ada.close_code == 4404
        await ada.close()
    assert (await api.post(f"{TRIP}/revive")).status_code == 204
    async with YClient(server.ws_url, "trip") as bob:
        assert str(bob.text) == ""
        await write(bob, "new")
        assert [await text_at(api, line["id"]) for line in await versions(api)] == ["new"]


async def test_an_archive_moves_a_document_with_its_history_to_another_server(
    server: ServerProcess, api: httpx.AsyncClient
) -> None:
    async with YClient(server.ws_url, "trip") as ada:
        await write(ada, "a", "b", "c")
        await api.post(f"{TRIP}/versions", json={"name": "first plan", "pinned": True})
        await write(ada, "d")
        file = (await api.get(f"{TRIP}/archive")).content
        there = await versions(api)
    with start_server() as second:
        async with connected(second) as other, YClient(second.ws_url, "copy%2F1") as waiting:
            url = "/v1/documents/copy%2F1"
            made = await other.post(f"{url}/archive", content=file, headers=ZIP)
            assert made.status_code == 201, made.text
            await waiting.sees("abcd")
            here = await versions(other, url)
            assert [{**line, "id": ""} for line in here] == [{**line, "id": ""} for line in there]
            for mine, theirs in zip(here, there, strict=True):
                assert await text_at(other, mine["id"], url) == await text_at(api, theirs["id"])
            again = await other.post(f"{url}/archive", content=file, headers=ZIP)
            assert again.status_code == 409


async def test_a_large_document_and_its_history_do_not_hold_up_the_others(
    server: ServerProcess, api: httpx.AsyncClient
) -> None:
    async with YClient(server.ws_url, "trip") as ada, YClient(server.ws_url, "other") as bob:
        for _ in range(4):
            await write(ada, "".join(chr(97 + number % 26) for number in range(500_000)))
        first = (await versions(api))[-1]
        del ada.text[0:1_900_000]
        await ada.flush()
        await ada.saved()
        restoring = asyncio.create_task(api.post(f"{TRIP}/restore", json={"version": first["id"]}))
        saved_meanwhile = 0
        while not restoring.done():
            await write(bob, ".")
            saved_meanwhile += 1
        assert restoring.result().json() == {"restored": True}
        assert saved_meanwhile > 2
        await ada.until(lambda: len(str(ada.text)) == 1_000_000)
        assert await text_at(api, first["id"]) == str(ada.text)
