from __future__ import annotations

import os
from pathlib import Path

import pytest

from persistence.base import Append
from persistence.errors import StoreUrlError
from persistence.memory import MemoryStore
from persistence.postgres import PostgresSettings, PostgresStore
from persistence.sqlite import SqliteStore
from persistence.urls import open_store


@pytest.mark.parametrize("url", ["memory:", "memory://", "MEMORY:", " memory: "])
def test_memory_is_a_store_without_a_place(url: str) -> None:
    assert isinstance(open_store(url), MemoryStore)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///x.sqlite3", "x.sqlite3"),
        ("sqlite:///data/x.sqlite3", "data/x.sqlite3"),
        ("sqlite:///./data/x", "data/x"),
        ("sqlite:////abs/x.sqlite3", "/abs/x.sqlite3"),
        ("sqlite:////abs/with space/ü.db", "/abs/with space/ü.db"),
        ("sqlite:////abs/with%20space/%C3%BC%3F.db", "/abs/with space/ü?.db"),
        ("SQLite:///x", "x"),
    ],
)
def test_three_slashes_are_relative_and_four_absolute(url: str, path: str) -> None:
    store = open_store(url)

    assert isinstance(store, SqliteStore)
    assert store.path == Path(path)


@pytest.mark.parametrize(
    ("url", "dsn", "label"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d", "postgresql://h:5432/d"),
        ("postgres://u:p%40%2F@h:77/d", "postgresql://u:p%40%2F@h:77/d", "postgresql://h:77/d"),
        ("postgresql://h/d?sslmode=require", "postgresql://h/d?sslmode=require", "postgresql://h:5432/d"),
        ("postgresql://[::1]:5/d", "postgresql://[::1]:5/d", "postgresql://[::1]:5/d"),
        ("postgresql://u@a:1,b:2/d", "postgresql://u@a:1,b:2/d", "postgresql://a:1,b:2/d"),
        ("postgresql:///d", "postgresql:///d", "postgresql://localhost:5432/d"),
        ("postgresql:///d?host=/run/pg", "postgresql:///d?host=%2Frun%2Fpg", "postgresql:///run/pg/d"),
    ],
)
def test_a_postgresql_address_is_passed_on_and_its_label_has_no_password(
    url: str, dsn: str, label: str
) -> None:
    store = open_store(url)

    assert isinstance(store, PostgresStore)
    assert (store.dsn, store.label) == (dsn, label)


def test_the_settings_of_postgresql_may_stand_in_the_address() -> None:
    store = open_store(
        "postgresql://h/d?pgbouncer=true&sslmode=verify-full&connections_max=3&statement_timeout_ms=500&migrate=no"
    )

    assert isinstance(store, PostgresStore)
    assert store.dsn == "postgresql://h/d?sslmode=verify-full"
    assert store.settings == PostgresSettings(
        pgbouncer=True, connections_max=3, statement_timeout_ms=500, migrate=False
    )


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql:", "postgresql://user"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h/", "names no database"),
        ("postgresql:/u:secret@h/d", "two slashes"),
        ("postgresql://u:secret@h:port/d", "postgresql://user"),
        ("postgresql://u:secret@h:99999/d", "postgresql://user"),
        ("postgresql://u:secret@[h/d", "postgresql://user"),
        ("postgresql://u:secret@h/d?pgbounce=true", "did you mean 'pgbouncer'?"),
        ("postgresql://u:secret@h/d?ssl_mode=require", "did you mean 'sslmode'?"),
        ("postgresql://u:secret@h/d?sslmode=on", "verify-full"),
        ("postgresql://u:secret@h/d?pgbouncer=perhaps", "true or false"),
        ("postgresql://u:secret@h/d?connections_max=0", "whole number above 0"),
        ("postgresql://u:secret@h/d?connections_max=many", "whole number above 0"),
        ("postgresqll://u:secret@h/d", "postgresql://user"),
        ("u:secret@h/d", "postgresql"),
    ],
)
def test_a_wrong_postgresql_address_is_answered_in_one_line_without_its_password(url: str, hint: str) -> None:
    with pytest.raises(StoreUrlError) as caught:
        open_store(url)

    assert hint in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "sqlite:///data/collab.sqlite3"),
        ("data/x.sqlite3", "sqlite:///data/x.sqlite3"),
        ("/abs/x.sqlite3", "sqlite:////abs/x.sqlite3"),
        ("memory", "memory:"),
        ("memroy:", "memory:"),
        ("memory:x", "memory:"),
        ("sqlite", "sqlite:///"),
        ("sqlite:", "sqlite:///"),
        ("sqlite:x.db", "'sqlite:///x.db'"),
        ("sqlite:/x.db", "'sqlite:///x.db'"),
        ("sqlite://data/x.db", "'sqlite:///data/x.db'"),
        ("sqlite:///", "sqlite:///data/"),
        ("sqlite:////", "sqlite:///data/"),
        ("sqlite:///data/", "'sqlite:///data/collab.sqlite3'"),
        ("sqlite:///:memory:", "memory:"),
        ("sqlite:///x.db?mode=ro", "'sqlite:///x.db'"),
        ("sqlite:///x%00.db", "NUL"),
        ("sqlit:///x.db", "sqlite:///"),
        ("sqlite3:///x.db", "sqlite:///"),
        ("file:///x.db", "sqlite:///"),
        ("mysql://host/db", "sqlite:///"),
        ("sqlite:///a\nb", "control character"),
    ],
)
def test_a_wrong_address_is_answered_in_one_line_with_a_right_one(url: str, hint: str) -> None:
    with pytest.raises(StoreUrlError) as caught:
        open_store(url)

    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_relative_path_starts_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("data")
    store = open_store("sqlite:///data/a b%23?.sqlite3".replace("?", "%3F"))
    await store.open()
    await store.append([Append("r", b"1")])
    await store.close()

    assert (tmp_path / "data" / "a b#?.sqlite3").is_file()
