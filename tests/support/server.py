"""A server process for tests that look at it from outside: start, kill, restart, read its metrics and log.

The process gets its settings from the environment (``COLLAB_*``) and nothing else, keeps its rooms in a
SQLite file of its own, and ends with the test run, however that ends.

``COLLAB_TEST_URL`` (``ws://host:port``) makes the shared server an external one: tests of behaviour that
every y-websocket server has then run against that, the others are skipped.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped,unused-ignore]
from prometheus_client.parser import text_string_to_metric_families

_PORT_SHARES = 4

_START = "import sys; from collab_server.cli import main; sys.exit(main())"
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_LOG_TAIL_CHARS = 12_000

RUNNING: weakref.WeakSet[ServerProcess] = weakref.WeakSet()
"""Every server that this process has started, so that a failed test can show their logs."""


class ServerFailedError(AssertionError):
    """The server did not start, or did not stop, as it should; the text holds its log."""


def _ports() -> Iterator[int]:
    """Ports below those that the kernel takes for outgoing connections, no two alike.

    So no connection of a test can sit on a port while a server is being restarted. Test processes that run
    beside each other have ports of their own.
    """
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PORT_SHARES
    ports = list(range(10_000 + number, 32_000, _PORT_SHARES))
    random.SystemRandom().shuffle(ports)
    return iter(ports)


_next_port = _ports()


_kept: list[socket.socket] = []


def free_port() -> int:
    """A port that nobody listens on, and that no other test server was or will be given."""
    for port in _next_port:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        # It is bound and never listens: whoever takes its port with SO_REUSEADDR, as servers do, may have it.
        # A probe without that, as above, may not, so other runs of tests pass it over.
        keeper = socket.socket()
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", port))
        _kept.append(keeper)
        return port
    raise AssertionError("no port is left for test servers")


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def http_get(url: str, timeout_s: float = 5) -> tuple[int, str]:
    """Status and body of a GET. Raises OSError when nobody answers."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except http.client.HTTPException as broken:
        raise OSError(f"no HTTP from {url}: {broken!r}") from broken
    finally:
        connection.close()


class ServerProcess:
    """One ``collab-server serve``. It outlives kills and restarts: addresses and store stay."""

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        folder: Path | None = None,
        before_exec: Callable[[], None] | None = None,
    ) -> None:
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="collab-server-test-"))
        self.store_path = self.folder / "rooms.sqlite3"
        self.settings: dict[str, object] = {
            "host": "127.0.0.1",
            "port": free_port(),
            "ops_host": "127.0.0.1",
            "ops_port": free_port(),
            "store": f"sqlite:///{self.store_path}",
            **(settings or {}),
        }
        self._before_exec = before_exec
        self._log = self.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        RUNNING.add(self)

    # Where it is

    @property
    def http_url(self) -> str:
        return f"http://{self.settings['host']}:{self.settings['port']}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self.settings['host']}:{self.settings['port']}"

    @property
    def ops_url(self) -> str:
        return f"http://{self.settings['ops_host']}:{self.settings['ops_port']}"

    @property
    def port(self) -> int:
        return int(str(self.settings["port"]))

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    # How it is

    @property
    def returncode(self) -> int | None:
        """None while it runs; the exit code, negative for a signal, once it has ended."""
        assert self._process is not None
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the server process itself, without its workers."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def log_text(self) -> str:
        """Everything that it has written to stdout and stderr, over all restarts."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def health(self) -> int:
        """Status of /health."""
        return http_get(f"{self.ops_url}/health")[0]

    def ready(self) -> bool:
        """Whether /ready is green."""
        return http_get(f"{self.ops_url}/ready")[0] == 200

    def reasons(self) -> list[str]:
        """What /ready says is wrong; nothing when it is green."""
        told: list[str] = json.loads(http_get(f"{self.ops_url}/ready")[1])["reasons"]
        return told

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by ``name{label="value",...}``, labels sorted."""
        status, text = http_get(f"{self.ops_url}/metrics")
        assert status == 200, text
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found

    def metric(self, name: str) -> float:
        """The sum of a metric over all its labels; 0 when it has no sample."""
        return sum(value for key, value in self.metrics().items() if key.partition("{")[0] == name)

    # What is done to it

    def start(self, *, wait: bool = True, timeout_s: float = 30) -> ServerProcess:
        """Start the process; with ``wait`` return when /health and /ready answer."""
        assert not self.alive, "the server runs already"
        env = {key: value for key, value in os.environ.items() if not key.startswith("COLLAB_")}
        env.update({f"COLLAB_{key.upper()}": str(value) for key, value in self.settings.items()})
        env["PYTHONUNBUFFERED"] = "1"
        before_exec = self._before_exec

        def prepare() -> None:
            _die_with_parent()
            if before_exec is not None:
                before_exec()

        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=self.folder,
                preexec_fn=prepare,  # noqa: PLW1509 - the child execs at once, and tests start it from one thread
            )
        if wait:
            self.wait_ready(timeout_s)
        return self

    def wait_ready(self, timeout_s: float = 30) -> None:
        """Wait until /health and /ready are green; fail with the log when it ends or time runs out."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.alive:
                raise ServerFailedError(f"the server ended with {self.returncode}:\n{self.log_tail()}")
            with contextlib.suppress(OSError):
                if self.health() == 200 and self.ready():
                    return
            if time.monotonic() > deadline:
                raise ServerFailedError(f"not ready after {timeout_s} s:\n{self.log_tail()}")
            time.sleep(_POLL_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and do not wait."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait_exit(self, timeout_s: float = 60) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ServerFailedError(f"still running after {timeout_s} s:\n{self.log_tail()}") from None

    def terminate(self, timeout_s: float = 60) -> int:
        """SIGTERM, and wait; the exit code."""
        if self.alive:
            self.signal(signal.SIGTERM)
        return self.wait_exit(timeout_s)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.alive:
            self.signal(signal.SIGKILL)
        self.wait_exit(30)

    def restart(self, *, kill: bool = False) -> None:
        """End it (politely, or with SIGKILL) and start it again on the same ports and the same store."""
        if kill:
            self.kill()
        elif self.alive:
            code = self.terminate()
            if code != 0:
                raise ServerFailedError(f"SIGTERM ended the server with {code}:\n{self.log_tail()}")
        self.start()

    def close(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        if self._process is not None:
            self.kill()
        RUNNING.discard(self)
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self) -> str:
        """The end of the log, for messages."""
        return self.log_text[-_LOG_TAIL_CHARS:]

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def start_server(
    *,
    folder: Path | None = None,
    before_exec: Callable[[], None] | None = None,
    wait: bool = True,
    **settings: Any,
) -> ServerProcess:
    """Start a server with these settings (the keys of ``collab_server.config``) and wait until it is ready.

    ``before_exec`` runs in the child before the program starts, for limits. The caller closes it.
    """
    server = ServerProcess(settings, folder=folder, before_exec=before_exec)
    try:
        return server.start(wait=wait)
    except BaseException:
        server.close()
        raise


def external_url() -> str | None:
    """The address of an external server that the shared server shall be, from ``COLLAB_TEST_URL``."""
    return os.environ.get("COLLAB_TEST_URL") or None
