"""State vectors: read with bounds, written in one form."""

from __future__ import annotations

import pytest

from collab_server.errors import MalformedError
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.statevector import covers, decode_state_vector, encode_state_vector
from tests.support.ydocs import varints


def test_a_vector_comes_back_as_it_went() -> None:
    vector = {1: 5, 2**32 - 1: 2**53 - 1, 7: 1}
    assert decode_state_vector(encode_state_vector(vector)) == vector


def test_equal_vectors_have_one_form() -> None:
    assert (
        encode_state_vector({1: 5, 2: 3, 9: 0}) == encode_state_vector({2: 3, 1: 5}) == varints(2, 2, 3, 1, 5)
    )


def test_entries_of_clock_zero_are_read() -> None:
    assert decode_state_vector(varints(1, 7, 0)) == {7: 0}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01\x01",
        b"\x00\x00",
        varints(2**29),
        varints(2**29, 1, 1),
        varints(1, 1, 1, 1),
        b"\x80" * 20,
    ],
)
def test_what_is_no_vector_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_state_vector(data)


def test_the_number_of_entries_is_bounded() -> None:
    data = encode_state_vector(dict.fromkeys(range(11), 1))
    decode_state_vector(data, Bounds(state_vector_entries_max=11))
    with pytest.raises(MalformedError):
        decode_state_vector(data, Bounds(state_vector_entries_max=10))


def test_a_vector_covers_what_is_not_beyond_it() -> None:
    assert covers({1: 5}, {1: 5, 2: 0})
    assert not covers({1: 5}, {1: 6})
    assert not covers({}, {2: 1})
