from __future__ import annotations

import pytest

from collab_server.errors import MalformedError
from collab_server.wire.lib0 import (
    VAR_UINT_MAX,
    encode_var_bytes,
    encode_var_string,
    encode_var_uint,
    read_var_bytes,
    read_var_string,
    read_var_uint,
)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2**32 - 1, "ffffffff0f"),
        (VAR_UINT_MAX, "ffffffffffffff0f"),
    ],
)
def test_a_var_uint_has_the_bytes_that_lib0_writes(value: int, encoded: str) -> None:
    raw = bytes.fromhex(encoded)
    assert encode_var_uint(value) == raw
    assert read_var_uint(raw, 0) == (value, len(raw))


def test_reading_goes_on_where_the_last_value_ended() -> None:
    data = bytes.fromhex("ff" + "ac02" + "05")
    value, at = read_var_uint(data, 1)
    assert (value, at) == (300, 3)
    assert read_var_uint(data, at) == (5, 4)


@pytest.mark.parametrize("encoded", ["", "80", "ffffff", "80" * 9])
def test_a_var_uint_that_ends_early_is_malformed(encoded: str) -> None:
    with pytest.raises(MalformedError):
        read_var_uint(bytes.fromhex(encoded), 0)


def test_padding_is_read_up_to_ten_bytes_and_no_further() -> None:
    assert read_var_uint(bytes.fromhex("81" + "80" * 8 + "00"), 0) == (1, 10)
    with pytest.raises(MalformedError):
        read_var_uint(bytes.fromhex("81" + "80" * 9 + "00"), 0)


@pytest.mark.parametrize("encoded", ["80808080808080" + "10", "ffffffffffffffff7f", "80" * 9 + "01"])
def test_an_integer_that_javascript_cannot_hold_is_malformed(encoded: str) -> None:
    with pytest.raises(MalformedError):
        read_var_uint(bytes.fromhex(encoded), 0)


@pytest.mark.parametrize("value", [-1, VAR_UINT_MAX + 1])
def test_what_cannot_be_a_var_uint_is_not_encoded(value: int) -> None:
    with pytest.raises(ValueError, match="var-uint"):
        encode_var_uint(value)


def test_bytes_carry_their_length() -> None:
    assert encode_var_bytes(b"abc") == b"\x03abc"
    assert read_var_bytes(b"\x03abcdef", 0) == (b"abc", 4)
    assert read_var_bytes(b"\x00", 0) == (b"", 1)


@pytest.mark.parametrize("data", [b"", b"\x04abc", b"\xff\xff\xff\xff\x0fabc"])
def test_bytes_that_are_not_all_there_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        read_var_bytes(data, 0)


def test_bytes_over_their_bound_are_malformed() -> None:
    assert read_var_bytes(b"\x03abc", 0, 3) == (b"abc", 4)
    with pytest.raises(MalformedError):
        read_var_bytes(b"\x03abc", 0, 2)


def test_strings_are_utf8_and_their_length_counts_bytes() -> None:
    assert encode_var_string("zoë") == b"\x04zo\xc3\xab"
    assert read_var_string(b"\x04zo\xc3\xab", 0) == ("zoë", 5)


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_text_that_is_not_strict_utf8_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        read_var_string(encode_var_bytes(raw), 0)
