from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import pytest

from collab_server.api.public import public_app
from collab_server.config import Settings
from collab_server.errors import BusyError
from tests.unit.api.support import FakeDocuments, InPlace, doors


@dataclass(frozen=True)
class One:
    client: int
    state: str
    node: str = "n1"


class FakePresence:
    def __init__(self, *seen: One) -> None:
        self.seen = seen
        self.asked: list[str] = []
        self.fault: Exception | None = None

    async def here(self, room: str) -> Sequence[One]:
        self.asked.append(room)
        if self.fault is not None:
            raise self.fault
        return self.seen


async def ask(presence: FakePresence, path: str = "/v1/documents/trip/presence") -> httpx.Response:
    app = public_app(FakeDocuments(), InPlace(), Settings(), doors=doors(), presence=presence)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        return await client.get(path)


async def test_everybody_who_is_in_a_room_is_told_with_node_and_state() -> None:
    presence = FakePresence(One(7, '{"user":{"name":"Ada 🌊"}}'), One(9, '"here"', "n2"))
    answer = await ask(presence)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "room": "trip",
        "clients": [
            {"client": 7, "node": "n1", "state": {"user": {"name": "Ada 🌊"}}},
            {"client": 9, "node": "n2", "state": "here"},
        ],
    }


async def test_nobody_is_in_a_room_that_does_not_exist() -> None:
    answer = await ask(FakePresence())
    assert (answer.status_code, answer.json()["clients"]) == (200, [])


async def test_the_room_is_one_segment_of_the_path() -> None:
    presence = FakePresence()
    assert (await ask(presence, "/v1/documents/a%2Fb%20c/presence")).json()["room"] == "a/b c"
    assert presence.asked == ["a/b c"]


@pytest.mark.parametrize("state", ["{", "NaN", "[" * 50_000, "nul", '{"a":Infinity}', "", "1" * 5_000])
async def test_a_state_that_is_no_json_harms_nobody_else(state: str) -> None:
    answer = await ask(FakePresence(One(1, state), One(2, "{}")))
    assert [one["state"] for one in answer.json()["clients"]] == [None, {}]


async def test_a_state_is_passed_on_as_it_was_said() -> None:
    answer = await ask(FakePresence(One(1, '{"n":12345678901234567890.10,"s":"\\ud83c"}')))
    assert '"state":{"n":12345678901234567890.10,"s":"\\ud83c"}' in answer.text


async def test_too_many_questions_are_refused_for_now() -> None:
    presence = FakePresence()
    presence.fault = BusyError("too many ask who is here")
    answer = await ask(presence)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
