from __future__ import annotations

import os
import zlib

import pytest

from collab_server.errors import PeerError
from collab_server.gateway.deflate import Agreement, deflated, inflate, negotiate
from collab_server.wire.frame import Frame

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        pytest.param("permessage-deflate", PLAIN, id="bare"),
        pytest.param("permessage-deflate; client_max_window_bits", PLAIN, id="Chrome and Firefox"),
        pytest.param("Permessage-Deflate;Client_Max_Window_Bits=15 ", PLAIN, id="case and space"),
        pytest.param(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover", PLAIN, id="both"
        ),
        pytest.param('permessage-deflate; client_max_window_bits="10"', PLAIN, id="quoted"),
        pytest.param(
            "permessage-deflate; server_max_window_bits=9", PLAIN + "; server_max_window_bits=9", id="window"
        ),
        pytest.param("x-webkit-deflate-frame, permessage-deflate", PLAIN, id="unknown first"),
        pytest.param(
            "permessage-deflate; server_max_window_bits=99, permessage-deflate", PLAIN, id="bad first"
        ),
    ],
)
def test_the_first_valid_offer_is_accepted(offers: str, answer: str) -> None:
    agreement = negotiate(offers)
    assert agreement is not None
    assert agreement.header == answer


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; ; client_max_window_bits",
        ", " * 1000 + "permessage-deflate",
    ],
)
def test_an_invalid_offer_is_declined(offers: str) -> None:
    assert negotiate(offers) is None


def test_a_payload_is_compressed_once_and_kept_on_its_frame() -> None:
    frame = Frame(b"again " * 1000)
    packed = deflated(frame, 6)
    assert 0 < len(packed) < 100
    assert deflated(frame, 6) is packed
    assert inflate(packed, 10_000) == frame.data


def test_what_does_not_shrink_is_not_worth_it() -> None:
    assert deflated(Frame(os.urandom(2000)), 6) == b""


def test_inflating_stops_at_the_bound() -> None:
    packed = deflated(Frame(bytes(1000)), 6)
    assert len(inflate(packed, 1000)) == 1000
    with pytest.raises(PeerError) as caught:
        inflate(packed, 999)
    assert caught.value.close_code == 1009


def test_a_bomb_costs_no_more_than_the_bound() -> None:
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(PeerError):
        inflate(bomb[:-4], 1000)


def test_the_examples_of_the_rfc_are_read() -> None:
    # RFC 7692 section 7.2.3: one block, no compression, a final block.
    for text in (
        "f248cdc9c90700",
        "000500faff48656c6c6f00",
        "f348cdc9c90700 00",
        "f248050000 00ffffcac9c90700",
    ):
        assert inflate(bytes.fromhex(text), 100) == b"Hello"


@pytest.mark.parametrize("bad", [b"\xff", b"\x05", bytes.fromhex("f348cdc9c90700") + b"more"])
def test_what_is_no_stream_is_1007(bad: bytes) -> None:
    with pytest.raises(PeerError) as caught:
        inflate(bad, 100)
    assert caught.value.close_code == 1007


def test_an_agreement_without_a_window_names_none() -> None:
    assert Agreement().header == PLAIN
