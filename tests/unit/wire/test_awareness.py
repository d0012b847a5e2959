from __future__ import annotations

import pytest

from collab_server.errors import CloseCode, MalformedError, TooBigError
from collab_server.wire.awareness import (
    EMPTY_PAYLOAD,
    AwarenessBounds,
    AwarenessEntry,
    decode_awareness,
    encode_awareness,
)
from collab_server.wire.lib0 import encode_var_string, encode_var_uint

BOUNDS = AwarenessBounds()


def payload_of(*states: str) -> bytes:
    entries = (encode_var_uint(7) + encode_var_uint(1) + encode_var_string(state) for state in states)
    return encode_var_uint(len(states)) + b"".join(entries)


def test_entries_have_the_bytes_that_y_protocols_writes() -> None:
    entries = [AwarenessEntry(300, 5, '{"a":1}'), AwarenessEntry(1, 2, None)]
    raw = b"\x02" + b"\xac\x02\x05\x07" + b'{"a":1}' + b"\x01\x02\x04null"
    assert encode_awareness(entries) == raw
    assert decode_awareness(raw, BOUNDS) == entries


def test_a_payload_of_no_entries_is_one_byte() -> None:
    assert encode_awareness([]) == EMPTY_PAYLOAD
    assert decode_awareness(EMPTY_PAYLOAD, BOUNDS) == []


@pytest.mark.parametrize(
    "state",
    ["{}", "[]", "0", '"x"', "false", ' { "a" : 1.50e3 } ', '{"a":"\\ud83d"}', '{"a":"zoë 😀"}', "1" * 5000],
)
def test_a_state_is_kept_as_it_came(state: str) -> None:
    assert decode_awareness(payload_of(state), BOUNDS)[0].state == state


@pytest.mark.parametrize("state", ["null", " null ", "null\n"])
def test_null_means_gone_however_it_is_spaced(state: str) -> None:
    assert decode_awareness(payload_of(state), BOUNDS)[0].state is None


@pytest.mark.parametrize(
    "state",
    [
        "{",
        "{'a':1}",
        "NaN",
        '{"a":Infinity}',
        "-Infinity",
        "undefined",
        "{}{}",
        '"\t"',
        "\ufeff{}",
        "01",
        "[1,]",
    ],
)
def test_what_another_clients_json_parse_would_throw_at_is_malformed(state: str) -> None:
    with pytest.raises(MalformedError, match="JSON"):
        decode_awareness(payload_of(state), BOUNDS)


def test_a_state_may_be_nested_up_to_its_bound() -> None:
    bounds = AwarenessBounds(depth_max=3)
    assert decode_awareness(payload_of('[{"a":[]},{"b":[]},"[[[["]'), bounds)
    with pytest.raises(MalformedError, match="deep"):
        decode_awareness(payload_of('[{"a":[[]]}]'), bounds)


def test_a_hundred_thousand_levels_are_refused_without_a_fall() -> None:
    with pytest.raises(MalformedError, match="deep"):
        decode_awareness(payload_of("[" * 100_000), AwarenessBounds(state_bytes_max=1_000_000))


def test_a_string_that_only_looks_deep_is_welcome() -> None:
    state = '"' + '[{\\"' * 200 + '"'
    assert decode_awareness(payload_of(state), BOUNDS)[0].state == state


def test_a_state_over_its_bound_costs_its_sender_4413() -> None:
    bounds = AwarenessBounds(state_bytes_max=10)
    assert decode_awareness(payload_of('"12345678"'), bounds)
    with pytest.raises(TooBigError) as caught:
        decode_awareness(payload_of('"123456789"'), bounds)
    assert caught.value.close_code is CloseCode.OVER_LIMIT


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\x01\x07",
        b"\x01\x07\x01",
        b"\x01\x07\x01\x00",
        b"\x01\x07\x01\x04nul",
        b"\xff\xff\xff\xff\x0f",
        b"\x80",
    ],
)
def test_a_payload_that_is_not_all_there_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_awareness(payload, BOUNDS)


def test_more_entries_than_the_bytes_can_hold_are_refused_before_they_are_read() -> None:
    with pytest.raises(MalformedError, match="truncated"):
        decode_awareness(encode_var_uint(2**40) + payload_of("{}")[1:], BOUNDS)


def test_a_state_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(MalformedError):
        decode_awareness(b"\x01\x07\x01\x03\x22\xff\x22", BOUNDS)


def test_what_follows_the_entries_is_ignored() -> None:
    assert len(decode_awareness(payload_of("{}") + b"more", BOUNDS)) == 1
