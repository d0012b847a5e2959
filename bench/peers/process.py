"""A server process for the time of a measurement, ended with its children by pid."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from bench.errors import BenchError

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_LOG_TOLD_CHARS = 400


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel takes for outgoing connections."""
    choice = random.SystemRandom()
    while True:
        port = choice.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


def descendants(pid: int) -> list[int]:
    """The children of a process, their children, and so on."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                children = [int(word) for word in task.read_text().split()]
                found += children
                waiting += children
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and not just a leftover that nobody has looked at."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in {"Z", "X"}  # dead, and only waiting for its parent to look


def _clean_environment() -> dict[str, str]:
    """The environment without settings of our server that somebody has set for another purpose."""
    return {key: value for key, value in os.environ.items() if not key.startswith("COLLAB_")}


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ServerProcess:
    """One server that listens on a loopback port. A context manager: it is gone at the end."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.port = port
        self._folder = Path(tempfile.mkdtemp(prefix="collab-bench-"))
        self._log = self._folder / "server.log"
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(  # noqa: S603 - our own command
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    env={**_clean_environment(), **(env or {}), "PYTHONUNBUFFERED": "1"},
                    preexec_fn=_die_with_parent,  # noqa: PLW1509 - the child execs at once
                )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise BenchError(f"{name} cannot be started: {error.strerror}") from None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_listening(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until somebody accepts connections on its port.

        Raises:
            BenchError: It ended, or time ran out.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            if self._process.poll() is not None:
                raise BenchError(f"{self.name} ended with {self._process.returncode}: {self.log_end()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not listen after {timeout_s:g} s: {self.log_end()}")
            time.sleep(_POLL_S)

    def log_end(self) -> str:
        """The last of what it printed, on one line."""
        try:
            return " ".join(self._log.read_text(errors="replace").split())[-_LOG_TOLD_CHARS:]
        except OSError:
            return ""

    def stop(self) -> None:
        """SIGTERM, some patience, SIGKILL for it and for the children that it left behind."""
        family = descendants(self.pid)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pid in family:
            # Their parent is gone; a pid that another process got meanwhile is not of our folder.
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cwd").resolve() == self._folder.resolve():
                    os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(runs(pid) for pid in family) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
