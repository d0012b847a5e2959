from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from collab_server.errors import PeerError
from collab_server.wire import hocuspocus
from collab_server.wire.awareness import AwarenessBounds, AwarenessEntry, decode_awareness, encode_awareness
from collab_server.wire.lib0 import (
    VAR_UINT_MAX,
    encode_var_bytes,
    encode_var_string,
    encode_var_uint,
    read_var_bytes,
    read_var_string,
    read_var_uint,
)
from collab_server.wire.sync import PLAIN, Awareness, SyncStatus, SyncStep1, SyncStep2, Update, decode

uints = st.integers(0, VAR_UINT_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
states = json_values.map(lambda value: None if value is None else json.dumps(value, ensure_ascii=False))
entries = st.lists(st.builds(AwarenessEntry, uints, uints, states), max_size=6)


@given(uints, st.binary(max_size=3), st.binary(max_size=3))
def test_integers_come_back_from_anywhere_in_the_data(value: int, before: bytes, after: bytes) -> None:
    raw = encode_var_uint(value)
    assert read_var_uint(before + raw + after, len(before)) == (value, len(before) + len(raw))


@given(st.binary(max_size=300), texts)
def test_bytes_and_strings_come_back(raw: bytes, text: str) -> None:
    data = encode_var_bytes(raw) + encode_var_string(text)
    value, at = read_var_bytes(data, 0)
    assert value == raw
    assert read_var_string(data, at) == (text, len(data))


@given(st.binary(max_size=300))
def test_messages_come_back(payload: bytes) -> None:
    assert decode(PLAIN.step1(payload).data) == SyncStep1(payload)
    assert decode(PLAIN.step2(payload).data) == SyncStep2(payload)
    assert decode(PLAIN.update(payload).data) == Update(payload)
    assert decode(PLAIN.awareness(payload).data) == Awareness(payload)
    assert decode(PLAIN.sync_status(payload).data) == SyncStatus(payload)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_messages_come_back_under_their_address(payload: bytes, address: bytes) -> None:
    framing = hocuspocus.AddressedFraming(address)
    for frame, message in (
        (framing.step1(payload), SyncStep1(payload)),
        (framing.step2(payload), SyncStep2(payload)),
        (framing.update(payload), Update(payload)),
        (framing.awareness(payload), Awareness(payload)),
    ):
        found, at = hocuspocus.read_address(frame.data)
        assert found == address
        assert hocuspocus.decode(frame.data, at) == message


@given(entries)
def test_awareness_comes_back(entries: list[AwarenessEntry]) -> None:
    assert decode_awareness(encode_awareness(entries), AwarenessBounds()) == entries


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused_with_a_close_code(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        decode(data)
    with contextlib.suppress(PeerError):
        _, at = hocuspocus.read_address(data)
        hocuspocus.decode(data, at)
    with contextlib.suppress(PeerError):
        hocuspocus.decode(data, 0)
    with contextlib.suppress(PeerError):
        decode_awareness(data, AwarenessBounds())


@given(entries, st.data())
def test_awareness_that_was_cut_short_is_refused(entries: list[AwarenessEntry], data: st.DataObject) -> None:
    payload = encode_awareness(entries)
    cut = data.draw(st.integers(0, len(payload) - 1))
    refused = False
    try:
        decode_awareness(payload[:cut], AwarenessBounds())
    except PeerError:
        refused = True
    assert refused
