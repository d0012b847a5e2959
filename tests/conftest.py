"""Fixtures for all tests: server processes, and their logs beside a failure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.support.server import RUNNING, ServerProcess, external_url, start_server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the servers that run while a test fails."""
    report = yield
    if report.failed:
        for server in list(RUNNING):
            report.sections.append((f"log of the server on {server.ws_url}", server.log_tail()))
    return report


@pytest.fixture
def server_factory() -> Iterator[Callable[..., ServerProcess]]:
    """Start servers with settings of one's own; they end with the test."""
    started: list[ServerProcess] = []

    def start(**settings: Any) -> ServerProcess:
        if external_url():
            pytest.skip("needs a server process of its own, and COLLAB_TEST_URL names an external one")
        server = start_server(**settings)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
