from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from collab_server.access.callers import Callers
from collab_server.access.meters import Meter
from collab_server.access.origins import Origins
from collab_server.api.entrance import HttpEntrance, OperationsEntrance
from collab_server.api.operations import operations_app
from collab_server.telemetry.metrics import Metrics

APP = "https://app.example.com"
Maker = Callable[..., httpx.AsyncClient]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client_of(metrics: Metrics) -> Maker:
    def make(*allowed: str, rate: float = 0, guards_host: bool = False) -> httpx.AsyncClient:
        app = FastAPI()

        @app.post("/write")
        @app.get("/read")
        async def read(request: Request) -> dict[str, str | None]:
            return {"address": request.state.caller.address}

        @app.get("/broken")
        async def broken() -> None:
            raise RuntimeError

        entrance = HttpEntrance(
            app,
            Callers(["10.0.0.1"]),
            Origins(allowed, guards_host=guards_host),
            Meter("h", rate, max(1.0, rate), 100),
            metrics,
            clock=lambda: 0.0,
        )
        transport = httpx.ASGITransport(app=entrance, raise_app_exceptions=False, client=("10.0.0.1", 1))
        return httpx.AsyncClient(transport=transport, base_url="http://collab.example")

    return make


async def test_a_page_that_may_come_is_told_so_also_when_something_breaks(client_of: Maker) -> None:
    async with client_of(APP) as client:
        for path, status in (("/read", 200), ("/broken", 500), ("/nothing", 404)):
            answer = await client.get(path, headers={"Origin": APP})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, APP)
            assert answer.headers["vary"] == "Origin"
            assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_that_may_not_come_reaches_nothing(client_of: Maker, metrics: Metrics) -> None:
    async with client_of(APP) as client:
        answer = await client.post("/write", headers={"Origin": "https://evil.example"})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in answer.headers
    assert 'collab_connections_refused_total{reason="origin"} 1.0' in metrics.render().decode()


async def test_before_a_request_with_a_token_a_browser_asks_and_is_told_what_it_may_send(
    client_of: Maker,
) -> None:
    asks = {
        "Origin": APP,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization",
        "Access-Control-Request-Private-Network": "true",
    }
    async with client_of(APP) as client:
        answer = await client.options("/read", headers=asks)
        assert (answer.status_code, answer.content) == (204, b"")
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        assert "Authorization" in answer.headers["access-control-allow-headers"]
        assert answer.headers["access-control-allow-private-network"] == "true"
        refused = await client.options("/read", headers={**asks, "Origin": "https://evil.example"})
        assert refused.status_code == 403


async def test_where_any_page_may_come_every_answer_says_so(client_of: Maker) -> None:
    async with client_of("*") as client:
        for headers in ({}, {"Origin": "https://anything.example"}):
            answer = await client.get("/read", headers=headers)
            assert answer.headers["access-control-allow-origin"] == "*"


async def test_programs_need_no_origin_and_caches_keep_pages_apart(client_of: Maker) -> None:
    async with client_of(APP) as client:
        answer = await client.get("/read")
        assert answer.status_code == 200
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in answer.headers


async def test_a_name_that_was_pointed_at_this_machine_reaches_nothing(client_of: Maker) -> None:
    async with client_of(guards_host=True) as client:
        assert (await client.get("/read")).status_code == 403
        assert (await client.get("/read", headers={"Host": "localhost:4000"})).status_code == 200


class Ready:
    def reasons(self) -> list[str]:
        return []

    def degraded(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("ops_host", "headers", "status"),
    [
        ("127.0.0.1", {"Host": "localhost:4001"}, 200),
        ("127.0.0.1", {"Host": "127.0.0.1:4001"}, 200),
        ("localhost", {"Host": "[::1]:4001", "Origin": "http://localhost:3000"}, 200),
        ("127.0.0.1", {"Host": "evil.example:4001"}, 403),
        ("Localhost", {"Host": "evil.example:4001", "Origin": "http://evil.example:4001"}, 403),
        ("127.0.0.1", {"Host": "localhost:4001", "Origin": "https://evil.example"}, 403),
        ("127.0.0.1", {"Host": "localhost:4001", "Origin": "null"}, 403),
        ("10.0.0.7", {"Host": "collab-0.collab:4001"}, 200),
        ("10.0.0.7", {"Host": "collab-0.collab:4001", "Origin": "https://evil.example"}, 403),
    ],
)
async def test_no_page_gets_at_the_operations_port_and_programs_do(
    ops_host: str, headers: dict[str, str], status: int, metrics: Metrics
) -> None:
    entrance = OperationsEntrance(operations_app(metrics, Ready()), ops_host, metrics)
    transport = httpx.ASGITransport(app=entrance)
    async with httpx.AsyncClient(transport=transport, base_url="http://collab") as client:
        for path in ("/metrics", "/ready", "/v1/sessions"):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == (404 if status == 200 and path == "/v1/sessions" else status)


async def test_a_health_check_that_names_no_host_is_answered(metrics: Metrics) -> None:
    entrance = OperationsEntrance(operations_app(metrics, Ready()), "127.0.0.1", metrics)
    told: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message)

    scope = {"type": "http", "method": "GET", "path": "/ready", "query_string": b"", "headers": []}
    await entrance(scope | {"http_version": "1.0", "scheme": "http"}, receive, send)
    assert told[0]["status"] == 200


async def test_too_many_requests_of_one_address_are_told_to_wait(client_of: Maker) -> None:
    async with client_of(APP, rate=2) as client:
        one, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        statuses = [(await client.get("/read", headers=one)).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        answer = await client.get("/read", headers={**one, "Origin": APP})
        assert answer.json()["error"]["code"] == "too_many_requests"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["access-control-allow-origin"] == APP
        assert (await client.get("/read", headers=other)).json() == {"address": "192.0.2.2"}
