from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.peers.cache import UnavailableError, npm_folder, npm_version
from bench.peers.catalog import PEERS, chosen, ours_installed
from bench.peers.process import ServerProcess, descendants, free_port, runs

LISTEN = """
import socket, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    server.accept()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("COLLAB_BENCH_CACHE", str(folder))
    return folder


def fake_npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_without_npm_a_peer_is_unavailable(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="npm is not installed"):
        npm_folder({"a": "1.0.0"})


def test_a_failed_installation_says_why_and_is_tried_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", "echo 'no such package' >&2; exit 1", monkeypatch)
    with pytest.raises(UnavailableError, match=r"npm install.*no such package"):
        npm_folder({"a": "1.0.0"})
    working = 'mkdir -p node_modules/a; echo \'{"version": "1.0.0"}\' > node_modules/a/package.json'
    fake_npm(tmp_path / "bin", working, monkeypatch)
    folder = npm_folder({"a": "1.0.0"})
    assert npm_version(folder, "a") == "1.0.0"
    fake_npm(tmp_path / "bin", "exit 1", monkeypatch)
    assert npm_folder({"a": "1.0.0"}) == folder
    with pytest.raises(UnavailableError):
        npm_folder({"a": "1.0.1"})


def test_an_installation_is_bounded_in_time(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", "exec sleep 600", monkeypatch)
    with pytest.raises(UnavailableError, match="did not end within"):
        npm_folder({"a": "1.0.0"}, timeout_s=0.2)


def test_a_server_is_ended_together_with_its_children() -> None:
    port = free_port()
    with ServerProcess("it", [sys.executable, "-c", LISTEN, str(port)], port) as server:
        server.wait_listening()
        child = int(server.log_end().split()[1])
        assert descendants(server.pid) == [child]
    assert not runs(server.pid)
    assert not runs(child)


def test_a_server_that_ends_at_once_is_told_with_its_last_words() -> None:
    with (
        ServerProcess("it", [sys.executable, "-c", "raise SystemExit('no way')"], free_port()) as server,
        pytest.raises(BenchError, match="it ended with 1: no way"),
    ):
        server.wait_listening()


def test_a_command_that_is_not_there_is_one_line() -> None:
    with pytest.raises(BenchError, match="it cannot be started"):
        ServerProcess("it", ["/nowhere/at/all"], free_port())


def test_a_server_gets_our_settings_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_FLUSH_WINDOW_MAX_MS", "0")
    script = "import os; print(sorted(k for k in os.environ if k.startswith('COLLAB_')))"
    environment = dict(ours_installed({"connections_max": 7}).environment(1234))
    assert environment["COLLAB_CONNECTIONS_MAX"] == "7"
    with ServerProcess("it", [sys.executable, "-c", script], 1234, environment) as server:
        with pytest.raises(BenchError):
            server.wait_listening()
        assert "COLLAB_PORT" in server.log_end()
        assert "FLUSH_WINDOW" not in server.log_end()


def test_all_are_compared_but_those_on_request() -> None:
    assert [peer.key for peer in chosen(())] == [
        *("collab-server", "y-websocket", "hocuspocus", "pycrdt-websocket", "bun-relay"),
    ]
    assert [peer.key for peer in chosen(("bun-relay", "collab-server"))] == ["collab-server", "bun-relay"]
    with pytest.raises(BenchError, match="did you mean 'hocuspocus'"):
        chosen(("hocus-pocus",))
    assert sum(peer.is_ours for peer in PEERS) == 1
