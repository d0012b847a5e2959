"""Connections that no proper client makes: refused in time, bounded in memory, unnoticed by the others."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import time
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from tests.adversity.conftest import Arena, healthy_in
from tests.support import frames, yupdate
from tests.support.rawpeer import BINARY, CONTINUATION, PING, PONG, RawPeer, frame
from tests.support.server import ServerProcess
from tests.support.yclient import YClient

MIB = 1024 * 1024
_JOINS_FULL = 100_000
_DEFLATE = {"Sec_WebSocket_Extensions": "permessage-deflate"}


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "short",
        "*" * 24,
        base64.b64encode(b"x" * 15).decode(),
        base64.b64encode(b"x" * 17).decode(),
        "\x00",
    ],
    ids=["missing", "empty", "short", "not base64", "15 bytes", "17 bytes", "a NUL"],
)
async def test_an_upgrade_with_a_missing_or_wrong_key_is_refused(arena: Arena, key: str | None) -> None:
    async with arena.attacker() as attacker:
        answer = await attacker.request(f"/{arena.room}", Sec_WebSocket_Key=key)
        assert answer.startswith(b"HTTP/1.1 400"), answer


@pytest.mark.parametrize("version", [None, "12", "99", "x"])
async def test_an_upgrade_to_another_version_is_told_the_right_one(arena: Arena, version: str | None) -> None:
    async with arena.attacker() as attacker:
        answer = await attacker.request(f"/{arena.room}", Sec_WebSocket_Version=version)
        assert answer.startswith(b"HTTP/1.1 426"), answer
        assert b"sec-websocket-version: 13" in answer.lower()


async def test_a_request_line_of_64_kb_is_refused(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        assert (await attacker.request("/" + "a" * 65536)).startswith(b"HTTP/1.1 4")


async def test_a_request_head_that_never_ends_is_refused(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        attacker.writer.write(b"GET /x HTTP/1.1\r\nHost: x\r\n")
        for _ in range(4096):
            attacker.writer.write(b"X-More: " + b"a" * 1000 + b"\r\n")
        assert (await attacker.head())[:10] in {b"HTTP/1.1 4", b""}


async def test_bytes_that_are_no_http_are_refused(arena: Arena) -> None:
    for noise in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x00" * 500 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        os.urandom(300) + b"\r\n\r\n",
    ):
        async with arena.attacker() as attacker:
            attacker.writer.write(noise)
            attacker.writer.write_eof()
            assert (await attacker.head())[:10] in {b"HTTP/1.1 4", b""}


async def test_a_room_name_of_more_than_512_bytes_is_refused_and_one_of_512_is_not(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade("%C3%BC" * 256)
        await attacker.send_message(frames.step1())
        await attacker.receive_message(b"\x00\x01")
    for name in ("a" * 513, "%C3%BC" * 256 + "a"):
        async with arena.attacker() as attacker:
            await attacker.upgrade(name)
            assert await attacker.close_code() == 4400


@pytest.mark.parametrize("name", ["%FF%FE", "a%00b"], ids=["not UTF-8", "a NUL"])
async def test_a_name_that_is_no_name_is_refused(arena: Arena, name: str) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(name)
        assert await attacker.close_code() == 4400


async def test_an_update_in_a_hundred_fragments_with_pings_between_arrives(arena: Arena) -> None:
    message = frames.update(yupdate.text_update(7, 0, "in pieces " * 50))
    size = -(-len(message) // 100)
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else BINARY
            await attacker.send(frame(part, opcode, fin=part is parts[-1]), frame(b"are you there", PING))
        opcode, payload = await attacker.receive()
        while opcode != PONG:
            opcode, payload = await attacker.receive()
        assert payload == b"are you there"
        await arena.near[0].sees("in pieces " * 50)


async def test_a_message_in_fragments_without_end_is_too_big(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        attacker.writer.write(frame(b"\x00\x02", BINARY, fin=False))
        for _ in range(20):
            attacker.writer.write(frame(b"a" * MIB, CONTINUATION, fin=False))
        assert await attacker.close_code() == 1009


async def test_fragments_of_nothing_without_end_are_too_many(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        attacker.writer.write(frame(b"", BINARY, fin=False) + frame(b"", CONTINUATION, fin=False) * 300_000)
        assert await attacker.close_code() == 1009


async def test_a_frame_that_announces_too_much_is_refused_before_it_comes(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        await attacker.send(b"\x82\xff" + (2**40).to_bytes(8, "big") + b"\0\0\0\0")
        assert await attacker.close_code() == 1009


async def test_a_compressed_bomb_is_too_big(arena: Arena) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(512))
    bomb += packer.flush(zlib.Z_SYNC_FLUSH)
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room, **_DEFLATE)
        await attacker.send(frame(bomb[:-4], rsv1=True))
        assert await attacker.close_code() == 1009


async def test_bytes_that_do_not_inflate_are_refused(arena: Arena) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room, **_DEFLATE)
        await attacker.send(frame(b"\xff" * 100, rsv1=True))
        assert await attacker.close_code() == 1007


@pytest.mark.parametrize(
    "bytes_sent",
    [
        frame(b"\x00\x00\x01\x00", masked=False),
        frame(b"x", 3),
        frame(b"x", 11),
        frame(b"x", CONTINUATION),
        frame(b"x", rsv1=True),
        frame(b"x" * 126, PING),
        frame(b"x", PING, fin=False),
        frame(b"x", BINARY, fin=False) + frame(b"x", BINARY),
    ],
    ids=[
        "unmasked",
        "opcode 3",
        "opcode 11",
        "continues nothing",
        "RSV1",
        "long ping",
        "part ping",
        "nested",
    ],
)
async def test_a_breach_of_the_websocket_protocol_ends_the_connection(
    arena: Arena, bytes_sent: bytes
) -> None:
    async with arena.attacker() as attacker:
        await attacker.upgrade(arena.room)
        await attacker.send(bytes_sent)
        assert await attacker.close_code() == 1002


async def test_a_client_that_never_reads_costs_little_and_harms_nobody(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(connection_slow_max_s=3)
    async with healthy_in(server) as arena:
        deaf = [await _deaf(arena) for _ in range(10)]
        # More than the kernel keeps for a connection (up to 4 MB on the sending side).
        for _ in range(120):
            await arena.near[0].write("x" * 100_000)
        mark = "all of it"
        await arena.near[0].write(mark)
        await arena.near[1].sees(mark)
        await arena.unharmed()
        # They are given up, and nothing of them is left.
        deadline = time.monotonic() + 30
        while server.metric("collab_connections") > 4:
            assert time.monotonic() < deadline, server.metrics()
            await asyncio.sleep(0.1)
            await arena.near[0].write("y")
        for attacker in deaf:
            attacker.writer.transport.abort()
        await arena.unharmed()


async def _deaf(arena: Arena) -> RawPeer:
    attacker = await RawPeer(arena.url).__aenter__()
    attacker.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await attacker.upgrade(arena.room)
    await attacker.send_message(frames.step1())
    attacker.writer.transport.pause_reading()  # type: ignore[attr-defined]
    return attacker


async def test_a_client_that_reads_again_after_a_while_gets_everything(arena: Arena) -> None:
    async with YClient(arena.url, arena.room, max_queue=1) as slow:
        slow.socket.transport.pause_reading()
        for _ in range(60):
            await arena.near[0].write("0123456789abcdef" * 4000)
        mark = "the end"
        await arena.near[0].write(mark)
        await arena.near[1].sees(mark)
        slow.socket.transport.resume_reading()
        await slow.sees(mark)
        assert str(slow.text) == str(arena.near[0].text)


async def test_clients_that_say_nothing_are_closed(server_factory: Callable[..., ServerProcess]) -> None:
    server = server_factory(silence_timeout_s=1, handshake_timeout_s=1)
    async with healthy_in(server) as arena:
        async with arena.attacker() as attacker:
            await attacker.upgrade(arena.room)
            assert await attacker.close_code() == 4408
        async with arena.attacker() as attacker:
            async with asyncio.timeout(20):
                while await attacker.reader.read(1000):
                    pass
        async with arena.attacker() as attacker:
            attacker.writer.write(f"GET /{arena.room} HTTP/1.1\r\nHost: x\r\nUpgr".encode())
            async with asyncio.timeout(20):
                while await attacker.reader.read(1000):
                    pass
        await arena.unharmed()


async def test_a_document_over_its_limit_closes_its_writer_only(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(room_bytes_max=MIB, pending_bytes_max=64 * 1024)
    async with healthy_in(server) as arena:
        big = [frames.update(yupdate.text_update(client, 0, "x" * 200_000)) for client in range(11, 20)]
        assert await arena.close_code_for(*big) == 4413
        waiting = [frames.update(yupdate.text_update(client, 5, "x" * 5_000)) for client in range(31, 60)]
        assert await arena.close_code_for(*waiting) == 4413
        for one, other in (arena.near, arena.far):
            await one.write("small")
            await other.sees("small")
        await arena.unharmed()


async def test_a_flood_is_slowed_down_and_then_closed(server_factory: Callable[..., ServerProcess]) -> None:
    server = server_factory(message_rate_max_per_s=50, message_burst_max=100, message_flood_max_s=2)
    async with healthy_in(server) as arena:
        async with arena.attacker() as attacker:
            await attacker.upgrade(arena.room)
            attacker.writer.write(frame(frames.QUERY_AWARENESS) * 200_000)
            assert await attacker.close_code(30) in {4429, 1006}
        closed = server.metrics()
        assert any("4429" in key for key, value in closed.items() if "closed" in key and value), closed
        await arena.unharmed()


async def test_too_many_connections_are_turned_away_and_the_others_stay(
    server_factory: Callable[..., ServerProcess],
) -> None:
    server = server_factory(connections_max=20, members_per_room_max=5, rooms_max=4)
    async with healthy_in(server) as arena:
        crowd = [await RawPeer(arena.url).__aenter__() for _ in range(30)]
        for number, attacker in enumerate(crowd[:6]):
            await attacker.upgrade(arena.room)
            await attacker.send_message(frames.step1())
            if number < 3:
                await attacker.receive_message(b"\x00\x01")
            else:
                assert await attacker.close_code() == 1013
        for number, attacker in enumerate(crowd[6:10]):
            await attacker.upgrade(f"room-{number}")
            await attacker.send_message(frames.step1())
            if number < 2:
                await attacker.receive_message(b"\x00\x01")
            else:
                assert await attacker.close_code() == 1013
        for attacker in crowd[10:]:
            await attacker.upgrade(arena.room)
            assert await attacker.close_code() == 1013
        await arena.unharmed()
        for attacker in crowd:
            attacker.writer.transport.abort()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_joins_and_leaves_without_end_leave_nothing_behind(arena: Arena) -> None:
    """As many as fit into a short time; COLLAB_TEST_JOINS=100000 is the full number."""
    joins = int(os.environ.get("COLLAB_TEST_JOINS", "6000"))
    assert joins <= _JOINS_FULL
    numbers = iter(range(joins))

    async def come_and_go() -> None:
        for number in numbers:
            async with arena.attacker() as attacker:
                await attacker.upgrade(arena.room if number % 2 else f"churn-{number % 100}")
                if number % 3:
                    await attacker.send_message(frames.step1())
                    await attacker.send_message(frames.awareness([(10_000 + number, 1, {"n": number})]))
                if number % 5 == 0:
                    await attacker.send(frame(b"\x03\xe8", 8))
                    await attacker.close_code()

    await _in_parallel(come_and_go, workers=20)
    deadline = time.monotonic() + 60
    while arena.server.metric("collab_connections") > 4:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert arena.server.metric("collab_members") == 4
    assert _rooms_stored(arena.server.store_path).isdisjoint(f"churn-{n}" for n in range(100))


async def _in_parallel(worker: Callable[[], Coroutine[None, None, None]], *, workers: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(worker())


def _rooms_stored(store: Path) -> set[str]:
    import sqlite3

    reader = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return {name for (name,) in reader.execute("select name from doc")}
    finally:
        reader.close()
