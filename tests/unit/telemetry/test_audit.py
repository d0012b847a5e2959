from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Counter

from collab_server.access.identity import Identity
from collab_server.telemetry.audit import AuditError, AuditEvent, AuditLog, AuditResult

ADA = Identity("ada", "Ada Lovelace", session_id="s1", tenant="acme")


def audit_log(target: Path | str, **settings: Any) -> AuditLog:
    return AuditLog(
        str(target),
        now_ms=lambda: 1_750_000_000_123,
        written=Counter("written", "w", registry=None),
        lost=Counter("lost", "l", registry=None),
        **settings,
    )


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def count(counter: Counter | None) -> float:
    assert counter is not None
    return next(iter(counter.collect())).samples[0].value


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_says_who_did_what_from_where_and_how_it_went(tmp_path: Path) -> None:
    audit = audit_log(tmp_path / "audit.jsonl")
    audit.open()
    audit.record(AuditEvent.LOGIN, identity=ADA, address="192.0.2.1", room="trip-1", role="editor")
    audit.record(
        AuditEvent.REFUSAL,
        identity=None,
        address=None,
        result=AuditResult.REFUSED,
        reason="not allowed here",
        room="trip-1",
        version=None,
    )
    audit.close()

    assert lines(tmp_path / "audit.jsonl") == [
        {
            "at": "2025-06-15T15:06:40.123+00:00",
            "event": "login",
            "who": {"user": "ada", "name": "Ada Lovelace", "session": "s1", "tenant": "acme"},
            "from": "192.0.2.1",
            "what": {"room": "trip-1", "role": "editor"},
            "result": "ok",
        },
        {
            "at": "2025-06-15T15:06:40.123+00:00",
            "event": "refusal",
            "who": None,
            "from": None,
            "what": {"room": "trip-1"},
            "result": "refused",
            "reason": "not allowed here",
        },
    ]


def test_what_a_client_chose_can_neither_break_a_line_nor_fill_the_disk(tmp_path: Path) -> None:
    audit = audit_log(tmp_path / "audit.jsonl")
    audit.open()
    audit.record(AuditEvent.LOGIN, identity=None, address=None, room="a\n{\u2028\r\ud800" + "x" * 100_000)
    audit.close()

    text = (tmp_path / "audit.jsonl").read_bytes()
    assert text.count(b"\n") == 1
    assert len(text) < 4096
    assert lines(tmp_path / "audit.jsonl")[0]["what"]["room"].startswith("a\n{\u2028\r")


def test_a_reason_that_holds_a_token_is_written_without_it(tmp_path: Path) -> None:
    audit = audit_log(tmp_path / "audit.jsonl")
    audit.open()
    audit.record(
        AuditEvent.REFUSAL, identity=None, address=None, reason="bad token eyJhbGciOi.eyJzdWIiOiJh.c2lnbmF0"
    )
    audit.close()

    assert "eyJ" not in (tmp_path / "audit.jsonl").read_text()


def test_lines_are_appended_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    for _ in range(2):
        audit = audit_log(tmp_path / "audit.jsonl")
        audit.open()
        audit.record(AuditEvent.LOGIN, identity=ADA, address=None)
        audit.close()

    assert len(lines(tmp_path / "audit.jsonl")) == 2
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = audit_log(path)
    audit.open()
    audit.record(AuditEvent.LOGIN, identity=ADA, address="1")
    wait_until(lambda: path.stat().st_size > 0)
    path.rename(tmp_path / "audit.1")
    audit.record(AuditEvent.LOGIN, identity=ADA, address="2")
    audit.close()

    assert [line["from"] for line in lines(tmp_path / "audit.1")] == ["1"]
    assert [line["from"] for line in lines(path)] == ["2"]


def test_a_full_disk_stops_nobody_and_is_counted_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    audit = audit_log("/dev/full")
    audit.open()
    for _ in range(20):
        audit.record(AuditEvent.LOGIN, identity=ADA, address=None)
    wait_until(lambda: count(audit._lost) == 20)
    audit.close()

    assert count(audit._written) == 0


def test_a_line_cut_off_by_a_full_disk_does_not_swallow_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    audit = audit_log(path)
    audit.open()
    real_write = os.write
    faults = [lambda fd, data: real_write(fd, bytes(data)[:10]), _no_room]

    def write(fd: int, data: memoryview) -> int:
        return faults.pop(0)(fd, data) if faults else real_write(fd, data)

    monkeypatch.setattr(os, "write", write)
    audit.record(AuditEvent.LOGIN, identity=ADA, address="cut off")
    wait_until(lambda: count(audit._lost) == 1)
    audit.record(AuditEvent.LOGIN, identity=ADA, address="whole")
    audit.close()

    assert json.loads(path.read_text().splitlines()[-1])["from"] == "whole"


def _no_room(_fd: int, _data: object) -> int:
    raise OSError(28, "No space left on device")


def test_a_reader_that_does_not_read_fills_a_bounded_queue_and_the_rest_is_counted(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    audit = audit_log(pipe, queue_max=50)
    audit.open()
    recorded = 0
    while not count(audit._lost):
        audit.record(AuditEvent.LOGIN, identity=ADA, address="x" * 500)
        recorded += 1
    assert audit.lines_waiting <= 50

    # Who reads no more at all: the pipe breaks, and nothing ends.
    os.close(reader)
    wait_until(lambda: audit.lines_waiting == 0)
    audit.close()
    assert count(audit._written) + count(audit._lost) == recorded


def test_a_file_that_cannot_be_opened_is_told_to_whoever_set_it(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="No such file or directory"):
        audit_log(tmp_path / "nowhere" / "audit.jsonl").open()


def test_a_pipe_that_nobody_reads_is_told_to_whoever_set_it_and_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(AuditError, match="a pipe that nobody reads"):
        audit_log(pipe).open()


def test_without_a_target_nothing_is_kept() -> None:
    audit = audit_log("off")
    audit.open()
    audit.record(AuditEvent.LOGIN, identity=ADA, address=None)
    assert audit.lines_waiting == 0
    audit.close()
