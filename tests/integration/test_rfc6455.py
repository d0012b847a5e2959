"""The rules of RFC 6455 and RFC 7692 on the wire, group by group as the Autobahn suite has them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import pytest

from collab_server.gateway.settings import TransportSettings
from tests.support.echothread import echo_thread
from tests.support.rawsocket import RawSocket, close_frame, frame

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
BYTES_MAX = 200_000
FRAGMENTS_MAX = 300
DEFLATE = "permessage-deflate; client_max_window_bits"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    settings = TransportSettings(
        message_bytes_max=BYTES_MAX, fragments_max=FRAGMENTS_MAX, close_timeout_s=1.0, head_bytes_max=4096
    )
    with echo_thread(settings=settings) as running:
        yield running.port


@pytest.fixture
def client(port: int) -> Iterator[RawSocket]:
    with RawSocket(port) as raw:
        raw.upgrade()
        yield raw


@pytest.fixture
def packed(port: int) -> Iterator[RawSocket]:
    """A client that has agreed to compression."""
    with RawSocket(port) as raw:
        assert "permessage-deflate; server_no_context_takeover" in raw.upgrade(
            Sec_WebSocket_Extensions=DEFLATE
        )
        yield raw


def pack(data: bytes, final: bool = False) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    if final:
        return packer.compress(data) + packer.flush() + b"\x00"
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def unpack(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")


# -- framing


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, BYTES_MAX])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length_form_come_back(client: RawSocket, opcode: int, size: int) -> None:
    payload = b"*" * size
    client.send(frame(opcode, payload))
    received = client.read_frame()
    assert (received.opcode, received.payload, received.fin, received.rsv) == (opcode, payload, True, 0)


def test_a_message_may_come_byte_by_byte(client: RawSocket) -> None:
    for byte in frame(TEXT, b"slowly"):
        client.send(bytes((byte,)))
    assert client.read_frame().payload == b"slowly"


def test_a_ping_is_answered_with_its_payload(client: RawSocket) -> None:
    for payload in (b"", b"hello", bytes(range(125))):
        client.send(frame(PING, payload))
        received = client.read_frame()
        assert (received.opcode, received.payload) == (PONG, payload)


def test_an_unasked_pong_is_ignored(client: RawSocket) -> None:
    client.send(frame(PONG, b"unasked") + frame(PING, b"asked"))
    assert client.read_frame().payload == b"asked"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(frame(PING, b"x" * 126), id="a control frame over 125 bytes"),
        pytest.param(frame(PING, b"x", fin=False), id="a fragmented control frame"),
        pytest.param(frame(CLOSE, b"x" * 126), id="a close frame over 125 bytes"),
        *(pytest.param(frame(TEXT, b"x", rsv=rsv), id=f"reserved bits {rsv} on text") for rsv in range(1, 8)),
        *(pytest.param(frame(PING, b"x", rsv=rsv), id=f"reserved bits {rsv} on a ping") for rsv in (1, 2, 4)),
        *(
            pytest.param(frame(CLOSE, b"", rsv=rsv), id=f"reserved bits {rsv} on a close")
            for rsv in (1, 2, 4)
        ),
        *(pytest.param(frame(op, b"x"), id=f"reserved opcode {op}") for op in (3, 4, 5, 6, 7, 11, 13, 15)),
        pytest.param(frame(BINARY, b"x", mask=b""), id="an unmasked frame"),
        pytest.param(frame(BINARY, b"x", length_bytes=2), id="16 bits for a short length"),
        pytest.param(frame(BINARY, b"x" * 300, length_bytes=8), id="64 bits for a 16-bit length"),
        pytest.param(frame(BINARY, length=1 << 63, length_bytes=8), id="a length with the top bit set"),
        pytest.param(frame(0, b"x"), id="a continuation of nothing"),
        pytest.param(frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), id="a message inside a message"),
        pytest.param(frame(TEXT, b"x") + frame(0, b"y"), id="a continuation after the last fragment"),
    ],
)
def test_a_broken_frame_closes_with_1002(client: RawSocket, broken: bytes) -> None:
    client.send(broken)
    assert client.read_close() == 1002


@pytest.mark.parametrize("length", [BYTES_MAX + 1, 1 << 31, (1 << 63) - 1])
def test_a_length_over_the_bound_closes_with_1009_before_any_payload(client: RawSocket, length: int) -> None:
    client.send(frame(BINARY, length=length, length_bytes=8))
    assert client.read_close() == 1009


def test_the_client_that_still_sends_a_too_long_message_reads_1009(client: RawSocket) -> None:
    client.send(frame(BINARY, b"x" * (BYTES_MAX * 10)))
    assert client.read_close() == 1009


def test_what_came_before_a_broken_frame_is_answered_before_the_close(client: RawSocket) -> None:
    client.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(5, b"bad") + frame(TEXT, b"three"))
    assert [client.read_frame().payload for _ in range(2)] == [b"one", b"two"]
    assert client.read_close() == 1002


# -- fragments


def test_fragments_are_joined_with_control_frames_between_them(client: RawSocket) -> None:
    client.send(frame(TEXT, b"frag", fin=False) + frame(PING, b"p1") + frame(0, b"", fin=False))
    client.send(frame(PING, b"p2") + frame(0, b"ment"))
    answers = [client.read_frame() for _ in range(3)]
    assert [(one.opcode, one.payload) for one in answers] == [
        (PONG, b"p1"),
        (PONG, b"p2"),
        (TEXT, b"fragment"),
    ]


def test_a_message_of_empty_fragments_is_an_empty_message(client: RawSocket) -> None:
    client.send(frame(BINARY, fin=False) + frame(0, fin=False) + frame(0) + frame(TEXT, b"next"))
    assert client.read_frame().payload == b""
    assert client.read_frame().payload == b"next"


def test_a_frame_in_a_hundred_fragments_is_one_message(client: RawSocket) -> None:
    client.send(frame(BINARY, b"0", fin=False) + frame(0, b"1", fin=False) * 98 + frame(0, b"2"))
    assert client.read_frame().payload == b"0" + b"1" * 98 + b"2"


def test_a_flood_of_empty_fragments_closes_with_1009(client: RawSocket) -> None:
    client.send(frame(BINARY, fin=False) + frame(0, fin=False) * FRAGMENTS_MAX)
    assert client.read_close() == 1009


def test_fragments_whose_sum_is_over_the_bound_close_with_1009(client: RawSocket) -> None:
    part = b"x" * (BYTES_MAX // 2 + 1)
    client.send(frame(BINARY, part, fin=False) + frame(0, part))
    assert client.read_close() == 1009


# -- text

BAD_TEXT = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xff",
]


@pytest.mark.parametrize("text", [*BAD_TEXT, b"cut \xe2\x82"])
def test_text_that_is_not_utf8_closes_with_1007(client: RawSocket, text: bytes) -> None:
    client.send(frame(TEXT, text))
    assert client.read_close() == 1007


@pytest.mark.parametrize("text", BAD_TEXT)
def test_bad_text_fails_at_its_first_bad_fragment(client: RawSocket, text: bytes) -> None:
    client.send(frame(TEXT, b"good ", fin=False) + frame(0, text, fin=False))
    assert client.read_close() == 1007


def test_a_character_may_lie_on_the_edge_of_two_fragments(client: RawSocket) -> None:
    text = "κόσμε 👋 \U0010ffff".encode()
    client.send(frame(TEXT, text[:1], fin=False))
    for byte in text[1:-1]:
        client.send(frame(0, bytes((byte,)), fin=False))
    client.send(frame(0, text[-1:]))
    assert client.read_frame().payload == text


def test_fragmented_text_must_not_end_inside_a_character(client: RawSocket) -> None:
    client.send(frame(TEXT, b"\xe2", fin=False) + frame(0, b"\x82"))
    assert client.read_close() == 1007


def test_binary_is_not_checked_for_text(client: RawSocket) -> None:
    client.send(frame(BINARY, b"\xff", fin=False) + frame(0, b"\xfe"))
    assert client.read_frame().payload == b"\xff\xfe"


# -- closing


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999]
)
def test_a_close_is_answered_with_its_own_code(client: RawSocket, code: int) -> None:
    client.send(close_frame(code, "bye 👋".encode()))
    assert client.read_close() == code


def test_a_close_without_a_code_is_answered_without_one(client: RawSocket) -> None:
    client.send(close_frame())
    assert client.read_close() == 1005


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_a_forbidden_close_code_closes_with_1002(client: RawSocket, code: int) -> None:
    client.send(close_frame(code))
    assert client.read_close() == 1002


def test_half_a_close_code_closes_with_1002(client: RawSocket) -> None:
    client.send(frame(CLOSE, b"\x03"))
    assert client.read_close() == 1002


def test_a_close_reason_that_is_not_utf8_closes_with_1007(client: RawSocket) -> None:
    client.send(close_frame(1000, b"\xff"))
    assert client.read_close() == 1007


def test_nothing_is_answered_after_a_close(client: RawSocket) -> None:
    client.send(close_frame(1000) + frame(PING, b"late") + frame(TEXT, b"later") + close_frame(1001))
    assert client.read_frame().close_code == 1000
    client.read_end()


def test_a_close_between_fragments_ends_the_connection(client: RawSocket) -> None:
    client.send(frame(TEXT, b"never ", fin=False) + close_frame(1000))
    assert client.read_close() == 1000


# -- compression


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_compressed_messages_come_back_compressed(packed: RawSocket, opcode: int) -> None:
    payload = b"again and again " * 1000
    packed.send(frame(BINARY, pack(payload), rsv=4))
    received = packed.read_frame()
    assert (received.rsv, unpack(received.payload)) == (4, payload)
    assert len(received.payload) < len(payload) / 10


def test_compressed_text_is_checked_after_inflating(packed: RawSocket) -> None:
    packed.send(frame(TEXT, pack("grün".encode()), rsv=4))
    assert packed.read_frame().payload == "grün".encode()
    packed.send(frame(TEXT, pack(b"\xff\xfe"), rsv=4))
    assert packed.read_close() == 1007


def test_an_uncompressed_message_is_still_allowed(packed: RawSocket) -> None:
    packed.send(frame(BINARY, b"plain") + frame(BINARY, pack(b""), rsv=4))
    assert packed.read_frame().payload == b"plain"
    assert packed.read_frame().payload == b""


def test_small_and_incompressible_messages_are_sent_as_they_are(packed: RawSocket) -> None:
    for payload in (b"x" * 1023, os.urandom(5000)):
        packed.send(frame(BINARY, payload))
        received = packed.read_frame()
        assert (received.rsv, received.payload) == (0, payload)


def test_a_compressed_message_may_be_fragmented(packed: RawSocket) -> None:
    data = pack(os.urandom(100))
    packed.send(
        frame(BINARY, data[:10], rsv=4, fin=False) + frame(PING) + frame(0, data[10:], fin=False) + frame(0)
    )
    assert packed.read_frame().opcode == PONG
    assert packed.read_frame().payload == zlib.decompressobj(-15).decompress(data)


def test_the_compression_bit_on_a_continuation_closes_with_1002(packed: RawSocket) -> None:
    packed.send(frame(BINARY, pack(b"xx"), rsv=4, fin=False) + frame(0, b"", rsv=4))
    assert packed.read_close() == 1002


def test_the_compression_bit_on_a_control_frame_closes_with_1002(packed: RawSocket) -> None:
    packed.send(frame(PING, b"", rsv=4))
    assert packed.read_close() == 1002


def test_a_final_deflate_block_ends_a_message_too(packed: RawSocket) -> None:
    packed.send(frame(BINARY, pack(b"Hello", final=True), rsv=4))
    assert packed.read_frame().payload == b"Hello"


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"not deflate at all", pack(b"x", final=True) + b"more"])
def test_what_is_no_deflate_stream_closes_with_1007(packed: RawSocket, data: bytes) -> None:
    packed.send(frame(BINARY, data, rsv=4))
    assert packed.read_close() == 1007


def test_a_compressed_bomb_closes_with_1009(packed: RawSocket) -> None:
    bomb = pack(bytes(100_000_000))
    assert len(bomb) < BYTES_MAX
    packed.send(frame(BINARY, bomb, rsv=4))
    assert packed.read_close() == 1009


def test_a_smaller_window_is_kept(port: int) -> None:
    with RawSocket(port) as raw:
        head = raw.upgrade(Sec_WebSocket_Extensions="permessage-deflate; server_max_window_bits=10")
        assert "server_max_window_bits=10" in head
        short, long = b"ab" * 512, b"ab" * 600
        raw.send(frame(BINARY, short) + frame(BINARY, long))
        first, second = raw.read_frame(), raw.read_frame()
        assert (first.rsv, zlib.decompressobj(-10).decompress(first.payload)) == (4, short)
        assert (second.rsv, second.payload) == (0, long)
