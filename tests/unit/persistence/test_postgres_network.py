from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from persistence import postgres
from persistence.base import Append
from persistence.errors import SchemaError, StoreUnavailableError
from persistence.postgres import PostgresSettings, PostgresStore
from persistence.urls import open_store
from tests.support.postgres import PostgresServer, shared_server
from tests.support.tcp_proxy import TcpProxy
from tests.support.tools import needed
from tests.unit.persistence.conftest import Database, one_line, rows_of

# Not there, not ours, not writable


async def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        store = open_store(f"postgresql://ann:topsecret@127.0.0.1:{port}/trips")
        with pytest.raises(StoreUnavailableError) as caught:
            await store.open()
        await store.close()

    assert f"postgresql://127.0.0.1:{port}/trips: " in one_line(caught)
    assert "topsecret" not in one_line(caught)


async def test_a_database_or_a_user_that_is_not_there_is_told(database: Database) -> None:
    for wrong in (
        f"{database.dsn}".replace(database.name, "nowhere"),
        database.dsn.replace("postgres@", "nobody@"),
    ):
        store = open_store(wrong)
        with pytest.raises(StoreUnavailableError) as caught:
            await store.open()
        await store.close()
        assert "does not exist" in one_line(caught)


async def test_a_database_that_was_made_read_only_is_read_but_not_written(database: Database) -> None:
    async with database.opened() as store:
        await store.append([Append("r", b"1")])
    await database.execute(f'alter database "{database.name}" set default_transaction_read_only = on')

    async with database.opened() as store:
        assert await rows_of(store, "r") == [b"1"]
        for call in (store.ping(), store.append([Append("r", b"2")])):
            with pytest.raises(StoreUnavailableError, match="read-only transaction"):
                await call


async def test_tables_that_somebody_dropped_are_told(database: Database) -> None:
    async with database.opened() as store:
        await database.execute("drop table doc_update")
        with pytest.raises(SchemaError, match="not this program's schema"):
            await store.ping()


# A network and a server that fail


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(database.port).serve() as proxy:
        yield proxy


async def test_a_commit_whose_reply_was_lost_is_told_as_unavailable_and_may_be_repeated(
    database: Database, proxy: TcpProxy
) -> None:
    async with database.opened(port=proxy.port) as store:
        await store.append([Append("r", b"1")])
        proxy.lose_reply_to = b"commit\0"
        with pytest.raises(StoreUnavailableError):
            await store.append([Append("r", b"2")])
        assert proxy.replies_lost == 1
        assert await rows_of(store, "r") == [b"1", b"2"]

        await store.append([Append("r", b"2")])
        assert await rows_of(store, "r") == [b"1", b"2", b"2"]


async def test_a_connection_that_is_cut_is_told_and_the_next_call_has_a_new_one(
    database: Database, proxy: TcpProxy
) -> None:
    async with database.opened(port=proxy.port) as store, database.session() as other:
        await store.append([Append("r", b"1")])
        await other.execute("begin")
        await other.fetchval(postgres.FIND_TO_DELETE, "r")
        waiting = asyncio.ensure_future(store.append([Append("r", b"2")]))
        await database.until_somebody_waits()
        proxy.cut()
        with pytest.raises(StoreUnavailableError) as caught:
            await waiting
        one_line(caught)
        await other.execute("rollback")

        await store.append([Append("r", b"3")])
        assert b"3" in await rows_of(store, "r")


async def test_a_server_that_never_answers_is_given_up_and_the_store_can_be_closed(
    database: Database, proxy: TcpProxy
) -> None:
    settings = PostgresSettings(statement_timeout_ms=1_000, connect_timeout_ms=500)
    async with database.opened(settings, port=proxy.port) as store:
        await store.append([Append("r", b"1")])
        proxy.stalled = True
        outcomes = await asyncio.gather(
            store.append([Append("r", b"2")]), store.load("r"), store.ping(), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3

        proxy.stalled = False
        await store.append([Append("r", b"3")])
        proxy.stalled = True


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may kill."""
    shared_server()  # skips where there is none
    server = PostgresServer.start(max_connections="20")
    yield server
    server.stop()


@pytest.mark.parametrize("how", ["shut_down", "kill"])
async def test_what_was_acknowledged_is_there_when_the_server_is_back(
    own_server: PostgresServer, how: str
) -> None:
    store = PostgresStore(own_server.dsn)
    await store.open()
    await store.append([Append("r", b"1")])
    await asyncio.to_thread(getattr(own_server, how))
    for call in (store.append([Append("r", b"2")]), store.load("r"), store.ping()):
        with pytest.raises(StoreUnavailableError) as caught:
            await call
        one_line(caught)

    await asyncio.to_thread(own_server.start_again)
    await store.append([Append("r", b"3")])
    await store.ping()
    assert await rows_of(store, "r") == [b"1", b"3"]
    await store.close()


# TLS


def make_certificate(folder: Path, name: str) -> None:
    """A certificate for 127.0.0.1 that is its own authority."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    needed("openssl", "to make certificates")
    command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("query", "trusted"),
    [
        ("sslmode=require", True),
        ("sslmode=verify-full&sslrootcert={folder}/server.pem", True),
        ("sslmode=verify-ca&sslrootcert={folder}/server.pem", True),
        ("sslmode=verify-full&sslrootcert={folder}/stranger.pem", False),
        ("sslmode=verify-ca&sslrootcert={folder}/none.pem", False),
    ],
)
async def test_an_encrypted_connection_checks_the_certificate_as_the_address_says(
    database: Database, tmp_path: Path, query: str, trusted: bool
) -> None:
    await asyncio.to_thread(make_certificate, tmp_path, "server")
    await asyncio.to_thread(make_certificate, tmp_path, "stranger")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    async with TcpProxy(database.port, tls).serve() as proxy:
        parameters = query.format(folder=tmp_path)
        store = open_store(f"postgresql://postgres@127.0.0.1:{proxy.port}/{database.name}?{parameters}")
        try:
            if trusted:
                await store.open()
                await store.append([Append("r", b"1")])
            else:
                with pytest.raises(StoreUnavailableError) as caught:
                    await store.open()
                one_line(caught)
        finally:
            await store.close()

        assert (proxy.handshakes > 0) == trusted
