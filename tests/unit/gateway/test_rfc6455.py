from __future__ import annotations

import pytest

from collab_server.errors import CloseCode, PeerError
from collab_server.gateway import rfc6455


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_length_is_written_in_its_shortest_form(size: int, expected: bytes) -> None:
    assert rfc6455.header(rfc6455.FIN | rfc6455.BINARY, size) == expected


def test_every_close_code_of_our_table_may_be_on_the_wire() -> None:
    assert all(rfc6455.is_close_code(code) for code in CloseCode)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_reserved_close_codes_may_not(code: int) -> None:
    assert not rfc6455.is_close_code(code)
    with pytest.raises(PeerError) as caught:
        rfc6455.decode_close(code.to_bytes(2, "big"))
    assert caught.value.close_code == 1002


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4403, "not here"), (1012, "ä👋")])
def test_a_close_payload_is_read_as_it_was_written(code: int, reason: str) -> None:
    assert rfc6455.decode_close(rfc6455.encode_close(code, reason)) == (code, reason)


def test_no_code_is_an_empty_payload() -> None:
    assert rfc6455.encode_close(rfc6455.NO_STATUS, "dropped") == b""
    assert rfc6455.decode_close(b"") == (rfc6455.NO_STATUS, "")


@pytest.mark.parametrize("reason", ["x" * 200, "ä" * 100, "x" + "ä" * 100, "👋" * 50, "xy" + "👋" * 50])
def test_a_long_reason_is_cut_to_fit_a_control_frame_and_stays_text(reason: str) -> None:
    payload = rfc6455.encode_close(1000, reason)
    assert 120 < len(payload) <= rfc6455.CONTROL_BYTES_MAX
    assert reason.startswith(rfc6455.decode_close(payload)[1])


def test_a_reason_with_half_a_surrogate_pair_does_not_fail() -> None:
    assert rfc6455.decode_close(rfc6455.encode_close(1000, "x\ud800")) == (1000, "x?")


@pytest.mark.parametrize(("payload", "code"), [(b"\x03", 1002), (b"\x03\xe8\xff", 1007)])
def test_a_broken_close_payload_names_its_code(payload: bytes, code: int) -> None:
    with pytest.raises(PeerError) as caught:
        rfc6455.decode_close(payload)
    assert caught.value.close_code == code


def test_text_may_be_cut_anywhere() -> None:
    check = rfc6455.TextCheck()
    for byte in "κόσμε👋\U0010ffff".encode():
        check.feed(bytes((byte,)))


@pytest.mark.parametrize("bad", [b"\x80", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90", b"\xf5", b"\xe2\x28"])
def test_bad_text_is_noticed_as_soon_as_nothing_can_save_it(bad: bytes) -> None:
    check = rfc6455.TextCheck()
    check.feed(b"good")
    with pytest.raises(PeerError) as caught:
        check.feed(bad)
    assert caught.value.close_code == 1007
