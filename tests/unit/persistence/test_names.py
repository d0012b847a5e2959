from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.names import after_prefix, with_nul, without_nul

names = st.text(
    st.sampled_from(["\0", "\1", "\2", "a", "b", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"])
)


@given(names, names)
def test_a_name_has_the_prefix_if_and_only_if_it_lies_between_it_and_what_comes_after(
    prefix: str, name: str
) -> None:
    past = after_prefix(prefix)

    assert name.startswith(prefix) == (name >= prefix and (past is None or name < past))


@pytest.mark.parametrize("prefix", ["", "\U0010ffff", "\U0010ffff\U0010ffff"])
def test_nothing_comes_after_the_last_names(prefix: str) -> None:
    assert after_prefix(prefix) is None


@given(names)
def test_what_comes_after_can_be_written_as_utf_8(prefix: str) -> None:
    (after_prefix(prefix) or "").encode()


@given(names, names)
def test_a_name_without_nul_can_be_turned_back_and_keeps_order_and_beginnings(one: str, two: str) -> None:
    stored_one, stored_two = without_nul(one), without_nul(two)

    assert "\0" not in stored_one
    assert with_nul(stored_one) == one
    assert (stored_one < stored_two) == (one < two)
    assert stored_one.startswith(stored_two) == one.startswith(two)


def test_a_lone_surrogate_is_no_name() -> None:
    with pytest.raises(UnicodeEncodeError):
        without_nul("\ud800")
