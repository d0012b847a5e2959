"""The load harness against our server, from its command line: results, exit codes, storms, replays."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from bench.cli import main
from bench.generator.edits import Typist
from bench.generator.replay import Record, write_session
from bench.result import RunResult, load_result
from bench.run import child_environment
from tests.support.server import ServerProcess, start_server

SHORT = ("--lag-max-ms", "60000", "--settle", "15", "--quiet")
STORM = """
summary = "Everything at once, for two seconds."
clients = 12
clients_per_room = 4
[document]
bytes = 5_000
[edits]
rate_per_s = 8
deletes = 0.3
arrival = "poisson"
[cursors]
rate_per_s = 5
[pastes]
rate_per_s = 0.5
bytes = 3_000
[reconnects]
pause_s = 0.3
[[stages]]
name = "ramp"
duration_s = 0.3
clients = 1.0
rate = 0.0
[[stages]]
name = "hold"
duration_s = 0.7
rate = 1.0
measured = true
[[stages]]
name = "storm"
duration_s = 1.0
cut = 1.0
measured = true
[[stages]]
name = "ramp-down"
duration_s = 0.5
clients = 0.5
"""

CALM = """
summary = "Two rooms of four that type, for a second."
clients = 8
clients_per_room = 4
[edits]
rate_per_s = 10
[[stages]]
name = "ramp"
duration_s = 0.3
clients = 1.0
rate = 0.0
[[stages]]
name = "start"
duration_s = 0
rate = 1.0
[[stages]]
name = "hold"
duration_s = 1.2
measured = true
[[stages]]
name = "stop"
duration_s = 0
rate = 0.0
[[stages]]
name = "ramp-down"
duration_s = 0.5
clients = 0.5
"""


@pytest.fixture
def calm(tmp_path: Path) -> str:
    path = tmp_path / "calm.toml"
    path.write_text(CALM)
    return str(path)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    server = start_server(store="memory:")
    yield server
    server.close()


@pytest.fixture
def run(server: ServerProcess, tmp_path: Path) -> Callable[..., tuple[int, RunResult]]:
    def run(*arguments: str) -> tuple[int, RunResult]:
        path = tmp_path / "result.json"
        command = ["run", "--url", server.ws_url, *SHORT, "--json", str(path), *arguments]
        return main(command), load_result(path)

    return run


def test_a_run_passes_and_says_how_the_server_bore_it(
    run: Callable[..., tuple[int, RunResult]],
    calm: str,
    server: ServerProcess,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, result = run(
        *(calm, "--ops-url", server.ops_url, "--fail-if", "lost > 0", "--fail-if", "p50_ms > 60000"),
    )
    assert (code, result.failures) == (0, [])
    assert "passed" in capsys.readouterr().out
    assert result.counts["delivered"] == result.counts["sent"] * 3
    assert result.counts["replicas_compared"] == 4 + 2  # half have left; and a newcomer in each room
    assert server.pid in result.server["pids"]
    assert result.server["rss_max_bytes"] > 10_000_000
    assert max(each or 0 for each in result.series["server_connections"]) == 8
    assert len({len(values) for values in result.series.values()}) == 1
    assert RunResult.from_json(result.to_json()) == result


def test_cuts_pastes_cursors_and_departures_lose_nothing(
    run: Callable[..., tuple[int, RunResult]], tmp_path: Path
) -> None:
    path = tmp_path / "storm.toml"
    path.write_text(STORM)
    code, result = run(str(path))
    assert (code, result.failures) == (0, [])
    assert result.counts["reconnects"] == 12
    assert result.counts["caught_up"] > 0
    assert result.counts["awareness_delivered"] > 0
    assert result.reconnect["count"] == 12
    assert result.join["count"] == 12


def test_a_threshold_that_holds_fails_the_run(run: Callable[..., tuple[int, RunResult]], calm: str) -> None:
    code, result = run(calm, "--fail-if", "connections_opened >= 4")
    assert (code, result.failures) == (1, [])


def test_a_generator_that_is_too_slow_makes_the_run_invalid(
    run: Callable[..., tuple[int, RunResult]], calm: str
) -> None:
    code, result = run(calm, "--lag-max-ms", "0.0001")
    assert (code, result.is_valid) == (3, False)


def test_a_recorded_session_is_played_and_ends_equal(
    run: Callable[..., tuple[int, RunResult]], calm: str, tmp_path: Path
) -> None:
    typists = [Typist(client, "notes", random.Random(client)) for client in (11, 12)]
    records = []
    for n in range(60):
        typist = typists[n % 2]
        edit = (typist.backspace() if n % 7 == 6 else None) or typist.insert(2)
        records.append(Record(n * 50, n % 2, edit.update))
    write_session(tmp_path / "session.yupd.gz", records)
    code, result = run(
        *(calm, "--clients", "6", "--clients-per-room", "3", "--rate", "30"),
        *("--replay", str(tmp_path / "session.yupd.gz")),
    )
    assert (code, result.failures) == (0, [])
    assert result.counts["sent"] == 2 * 60
    assert result.counts["delivered"] + result.counts["caught_up"] == 2 * 60 * 2
    assert result.counts["delivered"] >= 2 * 58 * 2


def test_an_agent_generates_for_a_run_that_is_led_elsewhere(
    run: Callable[..., tuple[int, RunResult]], calm: str
) -> None:
    command = [sys.executable, "-m", "bench.cli", "agent", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_unbuffered()) as agent:
        try:
            assert agent.stdout
            found = re.search(r"--agents (\S+:\d+)", agent.stdout.readline())
            assert found
            code, result = run(*(calm, "--agents", found[1], "--processes", "2"))
        finally:
            agent.terminate()
    assert (code, result.failures) == (0, [])
    assert result.generator["processes"] == 2
    assert result.counts["delivered"] == result.counts["sent"] * 3


def _unbuffered() -> dict[str, str]:
    return {**child_environment(), "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "typin", "--url", "ws://127.0.0.1:1"], "no scenario 'typin'; did you mean 'typing'?"),
        (["run", "typing", "--url", "http://x"], "not an address: 'http://x'"),
        (
            ["run", "typing", "--url", "ws://127.0.0.1:1", "--fail-if", "p99 > 5"],
            "no figure 'p99'; did you mean",
        ),
        (["run", "typing", "--url", "ws://127.0.0.1:1", "--fail-if", "p99_ms"], "is not a comparison"),
        (
            ["run", "typing", "--url", "ws://127.0.0.1:1", "--json", "/no/such/folder/r.json"],
            "there is no folder",
        ),
        (["run", "typing", "--url", "ws://127.0.0.1:1", "--agents", "nonsense"], "is not host:port"),
        (["run", "typing", "--url", "ws://127.0.0.1:1", "--replay", "nowhere.gz"], "nowhere.gz: "),
        (["run", "trip", "--url", "ws://127.0.0.1:1", "--processes", "2"], "127.0.0.1:1 cannot be reached"),
        (["run", "typing", "--url", "ws://127.0.0.1:1"], "cannot be reached: Connection refused"),
        (["run", "idle", "--url", "ws://127.0.0.1:1", "--clients", "90000000"], "open files"),
        (["run", "typing"], "Missing option '--url'"),
        (["walk"], "No such command 'walk'"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--quiet"] if arguments[0] == "run" else arguments) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.startswith("collab-bench: ")
    assert said.count("\n") == 1


def hang_up_on_all(listening: socket.socket) -> None:
    """Until it is shut down."""
    with contextlib.suppress(OSError):
        while True:
            listening.accept()[0].close()


def test_a_server_that_takes_no_connection_fails_the_run_and_says_so(
    calm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.json"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=hang_up_on_all, args=(listening,), daemon=True).start()
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        command = ["run", calm, "--url", url, "--clients", "2", "--settle", "0.2"]
        assert main([*command, "--quiet", "--json", str(path)]) == 1
        listening.shutdown(socket.SHUT_RDWR)
    assert "connections were not taken" in capsys.readouterr().out
    assert json.loads(path.read_text())["counts"]["absent"] == 1  # the other one has left


def test_the_scenarios_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios"]) == 0
    assert "typing" in capsys.readouterr().out
