"""A browser, a server, and the playground between them."""

from __future__ import annotations

import functools
import http.server
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from collab_server.api import pages
from tests.support.node import run_node
from tests.support.server import ServerProcess, external_url, start_server
from tests.support.tools import missing

_SCENARIOS = Path(__file__).with_name("playground.mjs")
_SCENARIO_TIMEOUT_S = 100
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_room_numbers = count()
_RUN = secrets.token_hex(3)


def _browser() -> str:
    """The path of a Chromium; skips the test (fails it in CI) where there is none."""
    configured = os.environ.get("COLLAB_TEST_BROWSER")
    found = configured or next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        missing(f"none of {', '.join(_BROWSERS)} is installed: the browser tests need one")
    return found


@dataclass(frozen=True)
class Playground:
    """Where the page is; the process is None when the WebSocket server is an external one."""

    page_url: str
    process: ServerProcess | None

    def room(self) -> str:
        """The name of a room that no other test uses."""
        return f"trip-{_RUN}-{next(_room_numbers)}"

    def play(self, scenario: str, *args: str, room: str | None = None, script: Path = _SCENARIOS) -> None:
        """Run one scenario, of ``playground.mjs`` if not told; what it asserts is part of the test."""
        run_node(
            script,
            scenario,
            _browser(),
            self.page_url,
            room or self.room(),
            *args,
            timeout_s=_SCENARIO_TIMEOUT_S,
        )


@pytest.fixture(scope="session")
def playground() -> Iterator[Playground]:
    """The page as the server serves it; with an external server, the same files from beside it."""
    _browser()
    external = external_url()
    if external is None:
        with start_server() as server:
            yield Playground(f"{server.http_url}/playground/", server)
        return
    with _files(pages.FOLDER) as address:
        yield Playground(f"{address}/?ws={external}", None)


@pytest.fixture
def own_playground(playground: Playground) -> Playground:
    """The page with our own server, for what the reference server does not do."""
    if playground.process is None:
        pytest.skip("not a behaviour of the reference server")
    return playground


class _files:  # noqa: N801 - used as a function
    """Serves a folder over HTTP on a port of its own."""

    def __init__(self, folder: Path) -> None:
        handler = functools.partial(_QuietFiles, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the base class
        """Say nothing: the tests' output is not a log of requests."""
