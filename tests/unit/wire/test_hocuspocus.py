"""The multiplexed framing: every layout, and what is refused."""

from __future__ import annotations

import pytest

from collab_server.errors import MalformedError
from collab_server.wire import hocuspocus, sync
from collab_server.wire.hocuspocus import AddressedFraming
from collab_server.wire.lib0 import encode_var_bytes, encode_var_string, encode_var_uint

ADDRESS = b"trip-1"


def frame(*parts: bytes, address: bytes = ADDRESS) -> bytes:
    return b"".join((encode_var_bytes(address), *parts))


def decoded(data: bytes) -> hocuspocus.Message:
    address, at = hocuspocus.read_address(data)
    assert address == ADDRESS
    return hocuspocus.decode(data, at)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (frame(b"\x00\x00", encode_var_bytes(b"sv")), sync.SyncStep1(b"sv")),
        (frame(b"\x00\x01", encode_var_bytes(b"up")), sync.SyncStep2(b"up")),
        (frame(b"\x00\x02", encode_var_bytes(b"up")), sync.Update(b"up")),
        (frame(b"\x04\x00", encode_var_bytes(b"sv")), hocuspocus.ReplyStep1(b"sv")),
        (frame(b"\x04\x01", encode_var_bytes(b"up")), sync.SyncStep2(b"up")),
        (frame(b"\x04\x02", encode_var_bytes(b"up")), sync.Update(b"up")),
        (frame(b"\x01", encode_var_bytes(b"aw")), sync.Awareness(b"aw")),
        (frame(b"\x03"), sync.QueryAwareness()),
        (frame(b"\x02\x00", encode_var_string("tök")), hocuspocus.Token("tök")),
        (
            frame(b"\x02\x00", encode_var_string(""), encode_var_string("4.8.0")),
            hocuspocus.Token("", "4.8.0"),
        ),
        (
            frame(b"\x05", encode_var_string("hi \N{EARTH GLOBE EUROPE-AFRICA}")),
            hocuspocus.Stateless("hi 🌍"),
        ),
        (frame(b"\x07"), hocuspocus.Close()),
        (frame(b"\x07", b"what follows is ignored"), hocuspocus.Close()),
        (frame(b"\x00\x02", encode_var_bytes(b"up"), b"what follows is ignored"), sync.Update(b"up")),
    ],
)
def test_each_message_of_a_client_is_read(data: bytes, message: hocuspocus.Message) -> None:
    assert decoded(data) == message


@pytest.mark.parametrize(
    "data",
    [
        frame(),
        frame(b"\x00"),
        frame(b"\x00\x00"),
        frame(b"\x00\x03", encode_var_bytes(b"")),
        frame(b"\x00\x02", encode_var_uint(2**40), b"short"),
        frame(b"\x01\x05abc"),
        frame(b"\x02"),
        frame(b"\x02\x00"),
        frame(b"\x02\x01", encode_var_string("a server's denial")),
        frame(b"\x02\x02", encode_var_string("read-write")),
        frame(b"\x02\x00\x02\xff\xfe"),
        frame(b"\x02\x00", encode_var_string("t"), encode_var_string("v" * 257)),
        frame(b"\x05"),
        frame(b"\x05\x01\xff"),
        frame(b"\x06", encode_var_string("only servers send this")),
        frame(b"\x08\x01"),
        frame(b"\x09"),
        frame(b"\x0a"),
        frame(b"\x63"),
        frame(encode_var_uint(2**53 - 1)),
        frame(b"\x80" * 11),
    ],
)
def test_what_no_client_may_say_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decoded(data)


@pytest.mark.parametrize("kind", [6, 8])
def test_a_message_of_servers_is_refused_by_its_name(kind: int) -> None:
    with pytest.raises(MalformedError, match=f"type {kind} is sent by servers only"):
        decoded(frame(bytes([kind]), encode_var_string("x")))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05abc", b"\xff", encode_var_uint(2**52) + b"x", encode_var_bytes(bytes(8193)) + b"\x03"],
)
def test_a_frame_without_a_whole_address_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        hocuspocus.read_address(data)


def test_every_truncation_of_every_message_is_refused_or_is_another_whole_message() -> None:
    whole = frame(b"\x02\x00", encode_var_string("token"), encode_var_string("4.8.0"))
    for length in range(len(whole)):
        try:
            address, at = hocuspocus.read_address(whole[:length])
            message = hocuspocus.decode(whole[:length], at)
        except MalformedError:
            continue
        assert (address, message) == (ADDRESS, hocuspocus.Token("token"))


def test_an_address_is_a_room_and_perhaps_a_session() -> None:
    assert hocuspocus.room_bytes(b"trip-1") == b"trip-1"
    assert hocuspocus.session_bytes(b"trip-1") == b""
    assert hocuspocus.room_bytes(b"trip-1\x00abc\x00def") == b"trip-1"
    assert hocuspocus.session_bytes(b"trip-1\x00abc\x00def") == b"abc\x00def"


def test_what_the_server_says_is_laid_out_as_the_protocol_wants() -> None:
    framing = AddressedFraming(ADDRESS)
    name = b"\x06trip-1"
    assert framing.step1(b"sv").data == name + b"\x00\x00\x02sv"
    assert framing.step2(b"up").data == name + b"\x00\x01\x02up"
    assert framing.update(b"up").data == name + b"\x00\x02\x02up"
    assert framing.awareness(b"aw").data == name + b"\x01\x02aw"
    assert framing.sync_status(hocuspocus.SAVED).data == name + b"\x08\x01"
    assert framing.sync_status(hocuspocus.NOT_TAKEN).data == name + b"\x08\x00"
    assert framing.permission_denied("no").data == name + b"\x02\x01\x02no"
    assert framing.stateless("hi").data == name + b"\x05\x02hi"
    assert framing.token_wanted().data == name + b"\x02\x00"
    assert framing.welcome(can_write=True).data == name + b"\x02\x02\x0aread-write"
    assert framing.welcome(can_write=False).data == name + b"\x02\x02\x08readonly"
    assert framing.close("bye").data == name + b"\x07\x03bye"


def test_frames_are_shared_within_an_address_and_with_nobody_else() -> None:
    assert AddressedFraming(b"a").key == AddressedFraming(b"a").key
    keys = {AddressedFraming(b"a").key, AddressedFraming(b"a\x00s").key, sync.PLAIN.key}
    assert len(keys) == 3
