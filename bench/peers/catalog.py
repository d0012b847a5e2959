"""Which servers are compared: how each is had, which version it is, and how it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import collab_server
from bench.errors import BenchError, meant
from bench.peers.cache import UnavailableError, npm_folder, npm_version, python_of
from bench.peers.process import ServerProcess, free_port
from bench.target import Dialect, Target
from collab_server.version import version

_SERVERS = Path(__file__).parent / "servers"
_START_OURS = "import sys; from collab_server.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Installed:
    """A server that can be started."""

    version: str
    command: Callable[[int], list[str]]
    """The command line for a port."""
    environment: Callable[[int], Mapping[str, str]] = field(default=lambda port: {})


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that takes part."""

    key: str
    title: str
    dialect: Dialect
    install: Callable[[float], Installed]
    """Make it available within so many seconds; UnavailableError says why not."""
    is_ours: bool = False
    is_floor: bool = False
    """It does less than a server must: a bare relay."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that has been started for a measurement."""

    process: ServerProcess
    target: Target

    def stop(self) -> None:
        """End it."""
        self.process.stop()


def start(peer: Peer, installed: Installed) -> Running:
    """Start a peer on a free loopback port and wait until it listens.

    Raises:
        BenchError: It does not start.
    """
    port = free_port()
    environment = dict(installed.environment(port))
    process = ServerProcess(peer.title, installed.command(port), port, environment)
    try:
        process.wait_listening()
    except BaseException:
        process.stop()
        raise
    ops_port = environment.get("COLLAB_OPS_PORT")
    target = Target(
        urls=(f"ws://127.0.0.1:{port}",),
        dialect=peer.dialect,
        pids=(process.pid,),
        ops_url=f"http://127.0.0.1:{ops_port}" if ops_port else None,
        label=peer.title,
    )
    return Running(process, target)


def chosen(keys: tuple[str, ...]) -> list[Peer]:
    """The peers of these keys, in the order of the catalogue; all that are compared by default without keys.

    Raises:
        BenchError: There is no such peer.
    """
    known = {peer.key: peer for peer in PEERS}
    for key in keys:
        if key not in known:
            raise BenchError(f"no server {key!r}; {meant(key, known)}")
    return [peer for peer in PEERS if (peer.key in keys if keys else peer.key not in _ON_REQUEST)]


def ours_installed(settings: Mapping[str, object] | None = None) -> Installed:
    """The server of this source tree, with its default settings but for ports, and what is given."""
    extra = {f"COLLAB_{key.upper()}": str(value) for key, value in (settings or {}).items()}

    def environment(port: int) -> dict[str, str]:
        source = str(Path(collab_server.__file__).resolve().parent.parent)
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "PYTHONPATH": os.pathsep.join(paths),
            "COLLAB_HOST": "127.0.0.1",
            "COLLAB_PORT": str(port),
            "COLLAB_OPS_PORT": str(free_port()),
            "COLLAB_STORE": "sqlite:///rooms.sqlite3",  # in the process's own folder
            **extra,
        }

    return Installed(version(), lambda port: [sys.executable, "-c", _START_OURS, "serve"], environment)


def _install_ours(timeout_s: float) -> Installed:
    return ours_installed()


def _install_ours_in_memory(timeout_s: float) -> Installed:
    return ours_installed({"store": "memory:"})


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise UnavailableError("Node is not installed")
    return node


def _install_y_websocket(timeout_s: float) -> Installed:
    node = _node()
    folder = npm_folder({"@y/websocket-server": "0.1.1", "yjs": "13.6.33"}, timeout_s)
    script = folder / "node_modules/@y/websocket-server/src/server.js"
    return Installed(
        npm_version(folder, "@y/websocket-server"),
        lambda port: [node, str(script)],
        lambda port: {"HOST": "127.0.0.1", "PORT": str(port)},
    )


def _install_hocuspocus(timeout_s: float) -> Installed:
    node = _node()
    folder = npm_folder({"@hocuspocus/server": "4.7.0", "yjs": "13.6.33"}, timeout_s)
    script = str(_SERVERS / "hocuspocus.mjs")
    return Installed(
        npm_version(folder, "@hocuspocus/server"), lambda port: [node, script, str(folder), str(port)]
    )


def _install_bun_relay(timeout_s: float) -> Installed:
    folder = npm_folder({"bun": "1.4.5"}, timeout_s)
    # The package holds a binary for each kind of processor; npm takes those of this system.
    for binary in sorted(folder.glob("node_modules/@oven/*/bin/bun")):
        try:
            done = subprocess.run(  # noqa: S603 - a file that we have installed
                [str(binary), "--version"], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return Installed(done.stdout.strip(), partial(_bun_command, str(binary)))
    raise UnavailableError("Bun has no binary that runs on this machine")


def _bun_command(bun: str, port: int) -> list[str]:
    return [bun, str(_SERVERS / "relay.mjs"), str(port)]


def _install_pycrdt(timeout_s: float) -> Installed:
    pinned = "0.16.5"
    python = str(
        python_of((f"pycrdt-websocket=={pinned}", "uvicorn==0.54.0", "uvloop", "websockets==17.4"), timeout_s)
    )
    script = str(_SERVERS / "pycrdt_server.py")
    return Installed(pinned, lambda port: [python, "-I", script, str(port)])


PEERS = (
    Peer("collab-server", "collab-server", Dialect.PLAIN, _install_ours, is_ours=True),
    Peer("collab-server-memory", "collab-server (memory)", Dialect.PLAIN, _install_ours_in_memory),
    Peer("y-websocket", "y-websocket", Dialect.PLAIN, _install_y_websocket),
    Peer("hocuspocus", "Hocuspocus", Dialect.HOCUSPOCUS, _install_hocuspocus),
    Peer("pycrdt-websocket", "pycrdt-websocket", Dialect.PLAIN, _install_pycrdt),
    Peer("bun-relay", "bare relay (Bun)", Dialect.RELAY, _install_bun_relay, is_floor=True),
)
"""In the order of the tables."""

_ON_REQUEST = frozenset({"collab-server-memory"})
