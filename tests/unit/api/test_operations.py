from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from collab_server.api.operations import operations_app
from collab_server.telemetry.metrics import Kind, Metrics


class Standing:
    def __init__(self) -> None:
        self.faults: list[str] = []
        self.troubles: list[str] = []

    def reasons(self) -> list[str]:
        return self.faults

    def degraded(self) -> list[str]:
        return self.troubles


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("1.2.3")


@pytest.fixture
def standing() -> Standing:
    return Standing()


@pytest_asyncio.fixture
async def client(metrics: Metrics, standing: Standing) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=operations_app(metrics, standing))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_process_that_answers_is_alive_even_when_not_ready(
    client: httpx.AsyncClient, standing: Standing
) -> None:
    standing.faults = ["this node is leaving"]
    answer = await client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "alive"
    assert answer.json()["uptime_s"] >= 0
    assert answer.json()["version"]


async def test_a_ready_node_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "ready": True, "reasons": []})


async def test_a_node_that_serves_while_something_else_is_wrong_is_degraded_and_says_why(
    client: httpx.AsyncClient, standing: Standing
) -> None:
    standing.troubles = ["Redis does not answer"]
    answer = await client.get("/ready")
    told = {"status": "degraded", "ready": True, "reasons": ["Redis does not answer"]}
    assert (answer.status_code, answer.json()) == (200, told)


async def test_a_node_that_is_not_ready_says_why(client: httpx.AsyncClient, standing: Standing) -> None:
    standing.faults = ["the store is away"]
    standing.troubles = ["Redis does not answer"]
    answer = await client.get("/ready")
    told = {"status": "unready", "ready": False, "reasons": ["the store is away", "Redis does not answer"]}
    assert (answer.status_code, answer.json()) == (503, told)


async def test_metrics_are_in_the_text_format(client: httpx.AsyncClient, metrics: Metrics) -> None:
    metrics.received[Kind.UPDATE].add(30)
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'collab_bytes_received_total{kind="update"} 30.0' in answer.text


async def test_an_unknown_path_is_told_in_the_usual_shape(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
