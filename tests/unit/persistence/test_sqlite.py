from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from functools import partial
from pathlib import Path

import pytest

from persistence import sqlitehistory
from persistence.base import Append, HistoryPart, NewSegment, NoticeKind, Snapshot, UpdateRow
from persistence.errors import DocumentDeletedError, SchemaError, StoreError, StoreUnavailableError
from persistence.migrations import migrations
from persistence.sqlite import SqliteStore, _Lane
from persistence.sqlitelink import APPLICATION_ID, SqliteSettings

ROOT = Path(__file__).parents[3]
MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, SqliteSettings(busy_timeout_ms=50))
    await store.open()
    yield store
    await store.close()


def one_line(caught: pytest.ExceptionInfo[StoreError], path: Path) -> str:
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


async def data_of(store: SqliteStore, room: str) -> list[bytes]:
    document = await store.load(room)
    return [row.data for row in document.updates] if document else []


async def refused(path: Path, error: type[StoreError]) -> str:
    """Why the file cannot be opened."""
    store = SqliteStore(path, SqliteSettings(busy_timeout_ms=50))
    try:
        with pytest.raises(error) as caught:
            await store.open()
    finally:
        await store.close()
    return one_line(caught, path)


# What the file looks like


async def test_the_file_uses_a_write_ahead_log_and_names_its_owner_and_version(
    store: SqliteStore, path: Path
) -> None:
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
        assert connection.execute("pragma application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("pragma user_version").fetchone() == (len(migrations("sqlite")),)
    connection.close()


async def test_commits_are_synced_in_full(store: SqliteStore) -> None:
    writer = store._write_lane()

    level = await writer.run(lambda: writer.link.connect().execute("pragma synchronous").fetchone())

    assert level == (2,)


async def test_authors_and_times_are_kept_with_each_row(store: SqliteStore, path: Path) -> None:
    await store.append([Append("r", b"1", ("ann", 'b"ö'), 5), Append("r", b"2", (), 6)])

    with sqlite3.connect(path) as connection:
        rows = connection.execute("select authors, created_at_ms from doc_update order by id").fetchall()
    connection.close()
    assert rows == [('["ann", "b\\"\\u00f6"]', 5), ("[]", 6)]


async def test_closing_leaves_one_file(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.append([Append("r", b"1")])
    await store.close()

    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_no_call_is_made_on_the_thread_of_the_event_loop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    connect = sqlite3.connect

    def watched(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.set_trace_callback(lambda _: threads.add(threading.get_ident()))
        threads.add(threading.get_ident())
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    store = SqliteStore(path)
    await store.open()
    (row,) = await store.append([Append("r", b"1")])
    await store.load("r")
    await store.compact("r", Snapshot(b"1"), [row.id])
    await store.list_documents()
    await store.notify("r", NoticeKind.CHANGED)
    await store.notices(0)
    await store.ping()
    await store.delete("r")
    await store.restore_name("r")
    await store.close()

    assert threads
    assert threading.get_ident() not in threads


async def test_a_load_does_not_wait_behind_a_commit(store: SqliteStore) -> None:
    await store.append([Append("r", b"1")])
    writer = store._write_lane()
    started, gate = threading.Event(), threading.Event()

    def hold() -> None:
        with writer.link.writing() as connection:
            connection.execute("update doc set changed_at_ms = 99")
            started.set()
            assert gate.wait(20), "the load waited for this commit"

    holding = asyncio.ensure_future(writer.run(hold))
    await asyncio.to_thread(started.wait, 60)
    try:
        assert await data_of(store, "r") == [b"1"]
        assert len(await store.list_documents()) == 1
    finally:
        gate.set()
        await holding


# Another process


async def test_a_write_behind_anothers_lock_waits_its_time_and_fails_and_works_later(
    store: SqliteStore, path: Path
) -> None:
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("begin immediate")
    for call in (store.append([Append("r", b"1")]), store.ping()):
        with pytest.raises(StoreUnavailableError) as caught:
            await call
        assert "locked by another process for over 50 ms" in one_line(caught, path)

    foreign.execute("rollback")
    foreign.close()
    await store.append([Append("r", b"2")])
    await store.ping()
    assert await data_of(store, "r") == [b"2"]


def many_processes(script: str, *args: str, count: int) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *args]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0] for process in processes]


async def test_processes_that_start_at_once_migrate_once(path: Path) -> None:
    script = """
        import asyncio, sys
        from pathlib import Path
        from persistence.base import Append
        from persistence.sqlite import SqliteStore
        async def main():
            store = SqliteStore(Path(sys.argv[1]))
            print("ready", flush=True)
            sys.stdin.readline()
            await store.open()
            for number in range(20):
                await store.append([Append("r", b"x")])
            await store.close()
            print("done")
        asyncio.run(main())
    """
    outcomes = await asyncio.to_thread(many_processes, script, str(path), count=4)

    assert outcomes == ["done\n"] * 4
    store = SqliteStore(path)
    await store.open()
    assert len(await data_of(store, "r")) == 80
    await store.close()


# What cannot be opened


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    why = await refused(tmp_path / "none" / "x.sqlite3", StoreUnavailableError)

    assert f"the folder {tmp_path / 'none'} does not exist" in why


async def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    assert "is a folder" in await refused(tmp_path, StoreUnavailableError)


async def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"this is a letter to my aunt\n" * 100)

    assert "not a SQLite database" in await refused(path, SchemaError)
    assert path.read_bytes() == b"this is a letter to my aunt\n" * 100


async def test_another_programs_database_is_refused_and_left_as_it_is(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table bookmarks (id)")
    connection.close()
    before = path.read_bytes()

    assert "belongs to another program" in await refused(path, SchemaError)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused_with_both_versions(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 77")
    connection.close()

    why = await refused(path, SchemaError)
    assert "version 77" in why
    assert f"{len(migrations('sqlite'))}" in why


async def test_a_migration_that_fails_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = migrations("sqlite")
    monkeypatch.setattr(
        "persistence.sqlitelink.migrations",
        lambda _: [*good, "create table extra (id);\ninsert into nothing values (1);"],
    )
    await refused(path, StoreUnavailableError)

    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from sqlite_master").fetchone() == (0,)
        assert connection.execute("pragma user_version").fetchone() == (0,)
    connection.close()
    monkeypatch.undo()
    store = SqliteStore(path)
    await store.open()
    await store.append([Append("r", b"1")])
    await store.close()


async def test_an_older_schema_is_brought_up_to_date_with_its_data(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SqliteStore(path)
    await old.open()
    await old.append([Append("r", b"1")])
    await old.close()
    steps = [*migrations("sqlite"), "create table later (id);\nalter table doc add column colour text;"]
    monkeypatch.setattr("persistence.sqlitelink.migrations", lambda _: steps)

    new = SqliteStore(path)
    await new.open()
    assert await data_of(new, "r") == [b"1"]
    await new.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma user_version").fetchone() == (len(steps),)
        connection.execute("select colour from doc")
    connection.close()


def write_version_1(path: Path) -> None:
    """A file as the first program left it: a document with a snapshot and a row, a tombstone, a notice."""
    connection = sqlite3.connect(path)
    connection.executescript(migrations("sqlite")[0])
    connection.executescript("""
        insert into doc values (1, 'r', 5, 8, null), (2, 'gone', 1, 1, 9), (3, 'rows', 6, 6, null);
        insert into doc_snapshot values (1, '1,2', x'00ff');
        update doc_snapshot set data = cast(data as blob);
        insert into doc_update values (7, 1, cast('3' as blob), '["ann"]', 8);
        insert into doc_update values (9, 3, cast('x' as blob), '[]', 6);
        insert into notice values (4, 'gone', 'deleted', 1);
        pragma user_version = 1;
    """)
    connection.execute(f"pragma application_id = {APPLICATION_ID:d}")
    connection.close()


async def test_a_file_of_the_first_version_keeps_its_documents_and_gets_a_history(path: Path) -> None:
    write_version_1(path)
    store = SqliteStore(path)
    await store.open()
    assert store.migrated == (1, len(migrations("sqlite")))

    document = await store.load("r")
    assert document is not None
    assert document.snapshot == Snapshot(b"1,2", b"\0\xff")
    assert list(document.updates) == [UpdateRow(7, b"3", ("ann",), 8)]
    assert [(info.room, info.bytes_total) for info in await store.list_documents()] == [("r", 4), ("rows", 1)]
    with pytest.raises(DocumentDeletedError):
        await store.load("gone")
    assert await store.read_history("r") is None

    assert await store.compact("r", Snapshot(b"1,2,3"), [7], segments=[NewSegment(b"3", 8, 8, ["ann"], 1)])
    assert await store.compact("rows", Snapshot(b"x"), [9], segments=[NewSegment(b"x", 6, 6)])
    assert await store.read_history("r") == HistoryPart(b"1,2", [b"3"])
    assert await store.read_history("rows") == HistoryPart(None, [b"x"])
    await store.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_an_old_or_missing_schema_is_refused_where_it_must_not_be_changed(
    path: Path, read_only: bool
) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailableError, match="the file does not exist"):
        await store.open(migrate=False, read_only=read_only)
    await store.close()
    assert not path.exists()

    write_version_1(path)
    before = path.read_bytes()
    store = SqliteStore(path)
    with pytest.raises(SchemaError) as caught:
        await store.open(migrate=False, read_only=read_only)
    await store.close()

    assert "version 1 and must be brought to" in one_line(caught, path)
    assert "collab-server migrate" in one_line(caught, path)
    assert path.read_bytes() == before


async def test_the_lists_of_a_long_history_do_not_read_its_contents(store: SqliteStore, path: Path) -> None:
    (row,) = await store.append([Append("r", b"x")])
    segments = [NewSegment(bytes(20_000), n, n, ["ann"], 1) for n in range(2000)]
    await store.compact("r", Snapshot(b"x"), [row.id], segments=segments)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def watch(lane: _Lane) -> None:
        lane.link.connect().set_progress_handler(count, 100)

    async def steps_of(call: Awaitable[object]) -> int:
        nonlocal steps
        steps = 0
        await call
        return steps

    for lane in store._readers:
        await lane.run(partial(watch, lane))

    assert await steps_of(store.list_segments("r", limit=2000)) > 100
    assert await steps_of(store.list_segments("r", limit=50)) < 20
    assert await steps_of(store.list_segments("r", before=1000, limit=50)) < 20
    with sqlite3.connect(path) as connection:
        plans = [
            str(connection.execute(f"explain query plan {statement}", {"doc_id": 1, "at_ms": 5}).fetchall())
            for statement in (sqlitehistory.SIZE, sqlitehistory.PLACE_AT, sqlitehistory.LAST_PLACE)
        ]
    connection.close()
    for plan in plans:
        assert "COVERING INDEX doc_segment_doc" in plan
        assert "SCAN doc_segment" not in plan


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that a user without rights can enter and write to."""
    folder = Path(tempfile.mkdtemp(prefix="store-"))
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


def open_without_rights(path: Path) -> str:
    """What a user without rights is told, who opens and appends."""
    script = textwrap.dedent("""
        import asyncio, os, sys
        from pathlib import Path
        from persistence.base import Append
        from persistence.errors import StoreError
        from persistence.sqlite import SqliteStore
        from persistence.migrations import migrations
        async def main():
            # What is read and imported late must be so while the folder of Python may still be entered.
            migrations("sqlite")
            Path(sys.argv[1]).as_uri()
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            store = SqliteStore(Path(sys.argv[1]))
            try:
                await store.open()
                await store.append([Append("r", b"x")])
            except StoreError as error:
                print(type(error).__name__, error)
            else:
                print("written")
            finally:
                await store.close()
        asyncio.run(main())
    """)
    command = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stdout.rstrip("\n")


async def test_a_file_that_may_not_be_written_is_told(public_folder: Path) -> None:
    path = public_folder / "x.sqlite3"
    store = SqliteStore(path)
    await store.open()
    await store.close()
    path.chmod(0o444)

    told = await asyncio.to_thread(open_without_rights, path)

    assert told == f"StoreUnavailableError {path}: the file or its folder is read-only"


async def test_a_folder_that_may_not_be_written_is_told(public_folder: Path) -> None:
    public_folder.chmod(0o555)
    path = public_folder / "x.sqlite3"

    told = await asyncio.to_thread(open_without_rights, path)

    assert told == f"StoreUnavailableError {path}: the folder {public_folder} may not be written"


async def test_a_file_that_may_not_be_read_is_told(public_folder: Path) -> None:
    path = public_folder / "x.sqlite3"
    path.touch()
    path.chmod(0o600 if os.getuid() == 0 else 0)

    told = await asyncio.to_thread(open_without_rights, path)

    assert told == f"StoreUnavailableError {path}: the file may not be opened"


# Full, gone, replaced


async def test_a_full_database_refuses_what_does_not_fit_and_takes_what_does(path: Path) -> None:
    store = SqliteStore(path, SqliteSettings(page_count_max=100))
    await store.open()
    await store.append([Append("r", b"before")])

    with pytest.raises(StoreUnavailableError) as caught:
        await store.append([Append("q", b"small"), Append("r", bytes(MIB))])
    assert "the disk is full" in one_line(caught, path)

    assert await store.load("q") is None
    await store.append([Append("r", b"after")])
    assert await data_of(store, "r") == [b"before", b"after"]
    await store.close()


def append_with_small_disk(path: Path) -> str:
    script = textwrap.dedent(f"""
        import asyncio, resource, sys
        from pathlib import Path
        from persistence.base import Append
        from persistence.errors import StoreUnavailableError
        from persistence.sqlite import SqliteStore
        async def main():
            store = SqliteStore(Path(sys.argv[1]))
            await store.open()
            await store.append([Append("r", b"before")])
            resource.setrlimit(resource.RLIMIT_FSIZE, ({MIB}, {resource.RLIM_INFINITY}))
            try:
                await store.append([Append("r", bytes(4 * {MIB}))])
            except StoreUnavailableError as error:
                print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, ({resource.RLIM_INFINITY}, {resource.RLIM_INFINITY}))
            await store.append([Append("r", b"after")])
            print([row.data for row in (await store.load("r")).updates])
            await store.close()
        asyncio.run(main())
    """)
    command = [sys.executable, "-c", script, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout


async def test_a_disk_that_fills_up_loses_nothing_and_is_used_again_when_there_is_room(path: Path) -> None:
    told, rows = (await asyncio.to_thread(append_with_small_disk, path)).splitlines()

    assert str(path) in told
    assert rows == "[b'before', b'after']"


async def test_a_ping_tells_a_disk_that_is_almost_full(path: Path) -> None:
    store = SqliteStore(path, SqliteSettings(free_bytes_min=1 << 62))
    await store.open()

    with pytest.raises(StoreUnavailableError) as caught:
        await store.ping()

    assert "almost full" in one_line(caught, path)
    await store.close()


async def test_a_file_that_is_gone_is_told_not_made_anew_and_used_again_when_it_is_back(
    store: SqliteStore, path: Path
) -> None:
    await store.append([Append("r", b"1")])
    aside = path.with_suffix(".aside")
    path.rename(aside)

    for call in (store.append([Append("r", b"2")]), store.ping(), store.load("r")):
        with pytest.raises(StoreUnavailableError) as caught:
            await call
        assert "the file is gone" in one_line(caught, path)
    assert not path.exists()

    aside.rename(path)
    await store.append([Append("r", b"3")])
    assert await data_of(store, "r") == [b"1", b"3"]


async def test_a_file_that_was_replaced_is_the_one_that_counts(store: SqliteStore, path: Path) -> None:
    await store.append([Append("r", b"old")])
    backup = SqliteStore(path.with_suffix(".backup"))
    await backup.open()
    await backup.append([Append("r", b"from the backup")])
    await backup.close()

    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    path.with_suffix(".backup").replace(path)

    assert await data_of(store, "r") == [b"from the backup"]
    await store.append([Append("r", b"new")])
    assert await data_of(store, "r") == [b"from the backup", b"new"]


async def open_and_load_all(store: SqliteStore) -> None:
    await store.open()
    for number in range(200):
        await store.load(f"room-{number}")


async def test_a_damaged_file_is_told(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.append([Append(f"room-{number}", bytes(3000)) for number in range(200)])
    await store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)

    store = SqliteStore(path)
    try:
        with pytest.raises(StoreUnavailableError) as caught:
            await open_and_load_all(store)
        assert "damaged" in one_line(caught, path)
    finally:
        await store.close()


# Bounds


async def test_too_many_waiting_calls_are_refused_and_the_others_made(path: Path) -> None:
    store = SqliteStore(path, SqliteSettings(calls_max=4))
    await store.open()
    outcomes = await asyncio.gather(
        *(store.append([Append("r", b"%d" % number)]) for number in range(50)), return_exceptions=True
    )
    written = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, StoreUnavailableError)]

    assert len(written) + len(refusals) == 50
    assert len(written) >= 4
    assert refusals
    assert len(await data_of(store, "r")) == len(written)
    await store.close()


async def test_the_write_ahead_log_is_cut_back(path: Path) -> None:
    store = SqliteStore(path, SqliteSettings(wal_bytes_keep=MIB))
    await store.open()
    await store.append([Append("r", bytes(8 * MIB))])
    await store.append([Append("r", b"small")])
    await store.append([Append("r", b"small")])

    assert Path(f"{path}-wal").stat().st_size <= MIB
    await store.close()
