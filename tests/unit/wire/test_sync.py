from __future__ import annotations

import pytest

from collab_server.errors import MalformedError
from collab_server.wire.sync import (
    PLAIN,
    Auth,
    Awareness,
    Message,
    QueryAwareness,
    SyncStatus,
    SyncStep1,
    SyncStep2,
    Unknown,
    Update,
    decode,
)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"\x00\x00\x01\x00", SyncStep1(b"\x00")),
        (b"\x00\x01\x02\x00\x00", SyncStep2(b"\x00\x00")),
        (b"\x00\x02\x03abc", Update(b"abc")),
        (b"\x01\x01\x00", Awareness(b"\x00")),
        (b"\x02\x00\x02no", Auth(granted=False, reason="no")),
        (b"\x02\x01", Auth(granted=True)),
        (b"\x03", QueryAwareness()),
        (b"\x66\x02hi", SyncStatus(b"hi")),
    ],
)
def test_each_message_has_its_bytes(frame: bytes, message: Message) -> None:
    assert decode(frame) == message


def test_what_follows_the_first_message_is_ignored() -> None:
    assert decode(b"\x00\x02\x01a" + b"\x00\x02\x01b") == Update(b"a")


def test_a_query_with_a_payload_is_a_query() -> None:
    assert decode(b"\x03\x01\x00\xff") == QueryAwareness()


@pytest.mark.parametrize(
    ("frame", "type_"), [(b"\x04", 4), (b"\x65\x01a", 101), (b"\xac\x02", 300), (b"\x02\x07", 2)]
)
def test_a_message_of_a_strange_type_is_named_and_not_refused(frame: bytes, type_: int) -> None:
    assert decode(frame) == Unknown(type_)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x00\x02",
        b"\x00\x02\x05ab",
        b"\x00\x00\xff\xff\xff\xff\x0f",
        b"\x01",
        b"\x01\x02a",
        b"\x66",
        b"\x66\x02h",
        b"\x02",
        b"\x02\x00\x05no",
        b"\x02\x00\x01\xff",
        b"\x80",
    ],
)
def test_a_frame_that_ends_inside_its_message_is_malformed(frame: bytes) -> None:
    with pytest.raises(MalformedError):
        decode(frame)


def test_a_sync_message_of_a_strange_kind_is_malformed() -> None:
    with pytest.raises(MalformedError, match="sync"):
        decode(b"\x00\x03\x01a")


def test_the_plain_framing_writes_the_bytes_of_the_protocol() -> None:
    assert PLAIN.step1(b"\x00").data == b"\x00\x00\x01\x00"
    assert PLAIN.step2(b"\x00\x00").data == b"\x00\x01\x02\x00\x00"
    assert PLAIN.update(b"abc").data == b"\x00\x02\x03abc"
    assert PLAIN.awareness(b"\x00").data == b"\x01\x01\x00"
    assert PLAIN.sync_status(b"hi").data == b"\x66\x02hi"
    assert PLAIN.permission_denied("no").data == b"\x02\x00\x02no"


def test_an_update_of_many_bytes_carries_a_length_of_several() -> None:
    update = bytes(70_000)
    assert decode(PLAIN.update(update).data) == Update(update)
    assert PLAIN.update(update).data[:5] == b"\x00\x02\xf0\xa2\x04"


def test_plain_connections_share_their_frames() -> None:
    assert PLAIN.key == type(PLAIN)().key
