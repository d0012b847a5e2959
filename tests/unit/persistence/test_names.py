from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.names import after_prefix

names = st.text(st.sampled_from(["\0", "a", "b", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"]))


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
