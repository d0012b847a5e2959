from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

from persistence.base import Append, NoticeKind
from persistence.urls import open_store
from tests.unit.cli.test_cli import Run, _own_folder, run

__all__ = ["_own_folder", "run"]


def words(*texts: str) -> list[bytes]:
    """An edit for each text, by one client."""
    doc: Doc[Any] = Doc(client_id=7)
    text = doc.get("t", type=Text)
    updates = []
    for part in texts:
        before = doc.get_state()
        text += part
        updates.append(doc.get_update(before))
    return updates


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store that holds the document "trip", written in two goes, an hour apart."""
    url = f"sqlite:///{tmp_path}/rooms.sqlite3"

    async def fill() -> None:
        store = open_store(url)
        await store.open()
        for hour, update in enumerate(words("one", " two")):
            await store.append([Append("trip", update, ("ada",), 1_800_000_000_000 + hour * 3_600_000)])
        await store.close()

    asyncio.run(fill())
    return url


def ids(run: Run, url: str, room: str = "trip") -> list[str]:
    code, out, error = run("doc", "versions", room, "--json", "--store", url)
    assert (code, error) == (0, "")
    return [json.loads(line)["id"] for line in out.splitlines()]


def content(run: Run, url: str, room: str = "trip") -> Any:
    return json.loads(run("doc", "show", room, "--json", "--store", url)[1])


def test_versions_are_listed_with_time_and_authors(run: Run, url: str) -> None:
    code, out, error = run("doc", "versions", "trip", "--store", url)
    assert (code, error) == (0, "")
    head, newest, first = out.splitlines()
    assert head.split() == ["VERSION", "AT", "BYTES", "AUTHORS", "NAME"]
    assert newest.split()[1:3] == ["2027-01-15", "09:00:00Z"]
    assert first.split()[1:] == ["2027-01-15", "08:00:00Z", first.split()[3], "ada"]


def test_a_restore_is_an_edit_that_servers_are_told_of(run: Run, url: str) -> None:
    first = ids(run, url)[-1]
    assert run("doc", "restore", "trip", first, "--store", url) == (0, f"trip is as it was at {first}\n", "")
    assert content(run, url) == {"t": "one"}
    again = run("doc", "restore", "trip", first, "--store", url)
    assert again == (0, f"trip is as it was at {first} already\n", "")
    assert len(ids(run, url)) == 3

    async def notices() -> list[NoticeKind]:
        store = open_store(url)
        await store.open()
        _, found = await store.notices(0)
        await store.close()
        return [notice.kind for notice in found]

    assert asyncio.run(notices()) == [NoticeKind.CHANGED]


@pytest.mark.parametrize("version", ["s999", "v1", "newest"])
def test_a_version_that_is_none_is_one_line(run: Run, url: str, version: str) -> None:
    code, _, error = run("doc", "restore", "trip", version, "--store", url)
    assert (code, error) == (1, f"collab-server: there is no version '{version}'\n")


@pytest.mark.parametrize(
    "command", [("versions", "trap"), ("archive", "trap", "-"), ("restore", "trap", "s1")]
)
def test_a_document_that_is_none_is_one_line(run: Run, url: str, command: tuple[str, ...]) -> None:
    code, _, error = run("doc", *command, "--store", url)
    assert (code, error) == (
        1,
        "collab-server: there is no document 'trap'; did you mean 'trip'?\n",
    )


def test_an_archive_moves_a_document_with_its_history(run: Run, url: str, tmp_path: Path) -> None:
    code, out, error = run("doc", "archive", "trip", "trip.zip", "--store", url)
    assert (code, error) == (0, "")
    assert "bytes written to trip.zip" in out
    other = f"sqlite:///{tmp_path}/other.sqlite3"
    code, out, error = run("doc", "unarchive", "trip.zip", "--store", other)
    assert (code, error) == (0, "")
    assert out.startswith("trip: ")
    assert content(run, other) == {"t": "one two"}
    versions = ids(run, other)
    assert len(versions) == 2
    run("doc", "restore", "trip", versions[-1], "--store", other)
    assert content(run, other) == {"t": "one"}
    assert run("doc", "unarchive", "trip.zip", "a/copy", "--store", other)[0] == 0
    assert content(run, other, "a/copy") == {"t": "one two"}


def test_an_archive_does_not_replace_a_document(run: Run, url: str) -> None:
    run("doc", "archive", "trip", "trip.zip", "--store", url)
    command = ("doc", "unarchive", "trip.zip", "--store", url)
    assert run(*command)[::2] == (1, "collab-server: there is a document 'trip' already\n")
    run("doc", "delete", "trip", "--yes", "--store", url)
    code, _, error = run(*command)
    assert (code, "--revive" in error) == (1, True)
    assert run(*command, "--revive")[0] == 0
    assert content(run, url) == {"t": "one two"}


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"no zip at all" * 99])
def test_a_file_that_is_no_archive_is_one_line_and_makes_no_document(
    run: Run, url: str, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    code, _, error = run("doc", "unarchive", "x.zip", "new", "--store", url)
    assert (code, error.count("\n"), "not an archive" in error) == (1, 1, True)
    assert "new" not in run("doc", "list", "--store", url)[1]


def test_migrating_says_from_where_to_where(run: Run, tmp_path: Path) -> None:
    command = ("migrate", "--store", f"sqlite:///{tmp_path}/new.sqlite3")
    code, out, error = run(*command)
    assert (code, error) == (0, "")
    assert out.startswith("schema version 0 -> ")
    newest = out.split()[-1]
    assert run(*command) == (0, f"schema version {newest}, as it was\n", "")


def test_a_server_that_may_not_migrate_refuses_an_old_store(run: Run, tmp_path: Path) -> None:
    store = ("--store", f"sqlite:///{tmp_path}/new.sqlite3")
    (tmp_path / "new.sqlite3").touch()
    code, _, error = run("serve", "--port", "0", "--ops-port", "0", "--migrate-at-start", "false", *store)
    assert code == 1
    assert error.count("\n") == 1
    assert "collab-server migrate" in error
