from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from collab_server.views.align import Effort, align, gaps, increasing

FEW = st.lists(st.sampled_from("abcd"), max_size=16)


def longest_common(old: list[str], new: list[str]) -> int:
    """The length of a longest common subsequence, by the textbook."""
    row = [0] * (len(new) + 1)
    for one in old:
        diagonal = 0
        for at, other in enumerate(new, 1):
            above = row[at]
            row[at] = diagonal + 1 if one == other else max(above, row[at - 1])
            diagonal = above
    return row[-1]


@given(FEW, FEW)
def test_short_sequences_have_the_most_in_common_that_they_can(old: list[str], new: list[str]) -> None:
    assert sum(length for *_, length in align(old, new)) == longest_common(old, new)


@given(FEW, FEW, st.integers(0, 20))
def test_blocks_are_equal_and_in_order_however_little_effort_is_left(
    old: list[str], new: list[str], comparisons: int
) -> None:
    i_free = j_free = 0
    for i, j, length in align(old, new, Effort(comparisons)):
        assert length > 0
        assert i >= i_free
        assert j >= j_free
        assert old[i : i + length] == new[j : j + length]
        i_free, j_free = i + length, j + length


@given(FEW, FEW)
def test_blocks_and_gaps_are_the_whole(old: list[str], new: list[str]) -> None:
    blocks = align(old, new)
    rebuilt = list(old)
    for i, i_end, j, j_end in reversed(gaps(blocks, len(old), len(new))):
        rebuilt[i:i_end] = new[j:j_end]
    assert rebuilt == new


def test_without_effort_landmarks_still_show_what_stayed() -> None:
    old = list(range(1000))
    new = [*range(300), "x", *range(300, 500), *range(510, 900), "y", "z", *range(900, 1000)]
    blocks = align(old, new, Effort(0))
    assert blocks == [(0, 0, 300), (300, 301, 200), (510, 501, 390), (900, 893, 100)]


def test_what_is_never_single_is_found_by_what_stands_beside_it() -> None:
    dice = random.Random(1)
    old = [dice.choice("abcdefgh") for _ in range(2000)]
    new = [*old[:700], *"xyz", *old[720:1500], *"x", *old[1501:]]
    kept = sum(length for *_, length in align(old, new, Effort(0)))
    assert kept > 1900


def test_the_longest_increasing_run_is_what_need_not_move() -> None:
    assert increasing([5, 0, 1, 9, 2, 3, 8, 4]) == [1, 2, 4, 5, 7]
    assert increasing([]) == []
