"""What the command line does to documents is in the audit log, where the settings name a file for it."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_cli import Run, _own_folder, run
from tests.unit.cli.test_history_commands import ids, url

__all__ = ["_own_folder", "run", "url"]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "audit"
    monkeypatch.setenv("COLLAB_AUDIT_LOG", str(path))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_command_that_takes_out_or_changes_is_told_and_those_that_look_are_not(
    run: Run, url: str, log: Path
) -> None:
    version = ids(run, url)[-1]
    for command in (
        ("list",),
        ("show", "trip"),
        ("export", "trip", "trip.bin"),
        ("import", "other", "trip.bin"),
        ("restore", "trip", version),
        ("archive", "trip", "trip.zip"),
        ("delete", "trip"),
        ("unarchive", "trip.zip", "--revive"),
    ):
        code, _, error = run("doc", *command, "--store", url)
        assert (code, error) == (0, "")
    found = lines(log)
    by = {"through": "command line"}
    assert [(line["event"], line["result"], line["what"]) for line in found] == [
        ("export", "ok", {"room": "trip", **by}),
        ("import", "ok", {"room": "other", **by}),
        ("restore", "ok", {"room": "trip", **by, "version": version}),
        ("export", "ok", {"room": "trip", **by, "form": "archive"}),
        ("delete", "ok", {"room": "trip", **by}),
        ("import", "ok", {"room": "trip", **by, "form": "archive"}),
    ]
    assert {line["who"]["name"] for line in found} == {pwd.getpwuid(os.getuid()).pw_name}
    assert {line["from"] for line in found} == {None}


def test_what_failed_is_told_with_the_reason(run: Run, url: str, log: Path) -> None:
    assert run("doc", "restore", "trip", "s999", "--store", url)[0] == 1
    (line,) = lines(log)
    assert (line["event"], line["result"]) == ("restore", "failed")
    assert "s999" in line["reason"]


def test_nothing_is_done_that_could_not_be_told(run: Run, url: str, log: Path) -> None:
    log.mkdir()
    code, _, error = run("doc", "delete", "trip", "--store", url)
    assert (code, error.count("\n")) == (1, 1)
    assert "audit log" in error
    assert "nothing was done" in error
    assert run("doc", "show", "trip", "--store", url)[0] == 0


@pytest.mark.parametrize("stream", ["off", "stdout", "stderr"])
def test_the_streams_of_a_command_are_its_own(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setenv("COLLAB_AUDIT_LOG", stream)
    assert run("doc", "delete", "trip", "--store", url) == (0, "deleted trip\n", "")
