from __future__ import annotations

import pytest

from collab_server.errors import PeerError
from collab_server.gateway.deflate import deflated
from collab_server.gateway.messages import MessageJoiner
from collab_server.wire.frame import Frame

TEXT, BINARY = 1, 2


def joiner(bytes_max: int = 100, fragments_max: int = 10, inflates: bool = True) -> MessageJoiner:
    return MessageJoiner(bytes_max, fragments_max, inflates=inflates)


def refused(one: MessageJoiner, opcode: int, part: bytes, *, fin: bool = True, rsv1: bool = False) -> int:
    with pytest.raises(PeerError) as caught:
        one.feed(opcode, part, fin=fin, rsv1=rsv1)
    return caught.value.close_code


def test_one_frame_is_one_message() -> None:
    one = joiner()
    assert one.feed(TEXT, b"a", fin=True, rsv1=False) == "a"
    assert one.feed(BINARY, b"b", fin=True, rsv1=False) == b"b"
    assert not one.is_open


def test_fragments_become_one_message() -> None:
    one = joiner()
    assert one.feed(TEXT, b"\xc3", fin=False, rsv1=False) is None
    assert one.is_open
    assert one.feed(0, b"", fin=False, rsv1=False) is None
    assert one.feed(0, b"\xa4", fin=True, rsv1=False) == "ä"
    assert one.feed(BINARY, b"next", fin=True, rsv1=False) == b"next"


def test_an_empty_first_fragment_opens_a_message() -> None:
    one = joiner()
    assert one.feed(BINARY, b"", fin=False, rsv1=False) is None
    assert refused(one, BINARY, b"x") == 1002


def test_fragments_may_be_compressed_together() -> None:
    packed = deflated(Frame(b"ab" * 50), 6)
    one = joiner()
    assert one.feed(BINARY, packed[:3], fin=False, rsv1=True) is None
    assert one.feed(0, packed[3:], fin=True, rsv1=False) == b"ab" * 50


def test_the_bound_holds_for_the_sum_and_for_the_inflated_message() -> None:
    one = joiner()
    one.feed(BINARY, bytes(60), fin=False, rsv1=False)
    assert refused(one, 0, bytes(41), fin=False) == 1009
    assert refused(joiner(), BINARY, deflated(Frame(bytes(101)), 6), rsv1=True) == 1009


def test_the_number_of_fragments_is_bounded() -> None:
    one = joiner(fragments_max=3)
    one.feed(BINARY, b"", fin=False, rsv1=False)
    for _ in range(2):
        one.feed(0, b"", fin=False, rsv1=False)
    assert refused(one, 0, b"") == 1009


def test_the_order_of_frames_is_checked() -> None:
    assert refused(joiner(), 0, b"x") == 1002
    one = joiner()
    one.feed(TEXT, b"x", fin=False, rsv1=False)
    assert refused(one, TEXT, b"y") == 1002


def test_the_compression_bit_is_only_for_first_frames_of_those_who_agreed() -> None:
    assert refused(joiner(inflates=False), BINARY, b"x", rsv1=True) == 1002
    one = joiner()
    one.feed(BINARY, b"x", fin=False, rsv1=True)
    assert refused(one, 0, b"x", rsv1=True) == 1002


def test_compressed_text_is_judged_when_it_is_whole() -> None:
    packed = deflated(Frame(b"\xff" * 90), 6)
    one = joiner()
    assert one.feed(TEXT, packed[:2], fin=False, rsv1=True) is None
    assert refused(one, 0, packed[2:]) == 1007
