"""Which parts of two sequences are the same: a difference in bounded time, smallest where that is cheap.

Knows nothing of documents: it compares any two sequences of hashable elements, strings included. Where few
elements differ the answer is a shortest edit (E. Myers, "An O(ND) Difference Algorithm and Its Variations");
where many do, elements that occur once on each side are the landmarks and what lies between them is compared
by itself. What has neither is given up, which is always correct: unmatched means "replaced".
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence

Block = tuple[int, int, int]
"""``(i, j, n)``: ``old[i:i+n] == new[j:j+n]``, in ascending order of both."""

DIFFERENCES_MAX = 400
"""Elements that a shortest edit may touch before landmarks are looked for; its memory is the square of it."""
EFFORT_MAX = 2_000_000
"""Comparisons, about a quarter of a microsecond each, before only landmarks are used."""
_STRIDE = 64


def align(old: Sequence[Hashable], new: Sequence[Hashable], effort: int = EFFORT_MAX) -> list[Block]:
    """The blocks that both have in common; touching neighbours are one. ``effort`` bounds the time."""
    budget = _Budget(effort)
    found: list[Block] = []
    regions = [(0, len(old), 0, len(new))]
    while regions:
        region = _trim(old, new, regions.pop(), found)
        i, i_end, j, j_end = region
        if i == i_end or j == j_end:
            continue
        blocks = _shortest_edit(old, new, region, budget)
        if blocks is not None:
            found.extend(blocks)
            continue
        for at, to in _landmarks(old, new, region):
            regions.append((i, at, j, to))
            found.append((at, to, 1))
            i, j = at + 1, to + 1
        if i > region[0]:
            regions.append((i, i_end, j, j_end))
    return _joined(found)


def gaps(blocks: Sequence[Block], old_length: int, new_length: int) -> list[tuple[int, int, int, int]]:
    """What lies between the blocks: ``(i, i_end, j, j_end)``, at least one of both ranges not empty."""
    between = []
    i = j = 0
    for at, to, length in [*blocks, (old_length, new_length, 0)]:
        if at > i or to > j:
            between.append((i, at, j, to))
        i, j = at + length, to + length
    return between


def common_prefix(old: Sequence[Hashable], new: Sequence[Hashable], i: int, j: int, limit: int) -> int:
    """How many elements, ``limit`` at most, are equal from ``old[i]`` and ``new[j]`` on."""
    length = 0
    while (
        length + _STRIDE <= limit
        and old[i + length : i + length + _STRIDE] == new[j + length : j + length + _STRIDE]
    ):
        length += _STRIDE
    while length < limit and old[i + length] == new[j + length]:
        length += 1
    return length


def common_suffix(old: Sequence[Hashable], new: Sequence[Hashable], i: int, j: int, limit: int) -> int:
    """How many elements, ``limit`` at most, are equal before ``old[i]`` and ``new[j]``."""
    length = 0
    while (
        length + _STRIDE <= limit
        and old[i - length - _STRIDE : i - length] == new[j - length - _STRIDE : j - length]
    ):
        length += _STRIDE
    while length < limit and old[i - length - 1] == new[j - length - 1]:
        length += 1
    return length


def increasing(values: Sequence[int]) -> list[int]:
    """The positions of a longest strictly increasing subsequence."""
    tails: list[int] = []
    tail_values: list[int] = []
    before: list[int] = []
    for position, value in enumerate(values):
        at = bisect_left(tail_values, value)
        before.append(tails[at - 1] if at else -1)
        tails[at : at + 1] = [position]
        tail_values[at : at + 1] = [value]
    chain = []
    position = tails[-1] if tails else -1
    while position >= 0:
        chain.append(position)
        position = before[position]
    return chain[::-1]


class _Budget:
    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


def _trim(
    old: Sequence[Hashable],
    new: Sequence[Hashable],
    region: tuple[int, int, int, int],
    found: list[Block],
) -> tuple[int, int, int, int]:
    i, i_end, j, j_end = region
    length = common_prefix(old, new, i, j, min(i_end - i, j_end - j))
    if length:
        found.append((i, j, length))
        i, j = i + length, j + length
    length = common_suffix(old, new, i_end, j_end, min(i_end - i, j_end - j))
    if length:
        i_end, j_end = i_end - length, j_end - length
        found.append((i_end, j_end, length))
    return i, i_end, j, j_end


def _shortest_edit(
    old: Sequence[Hashable],
    new: Sequence[Hashable],
    region: tuple[int, int, int, int],
    budget: _Budget,
) -> list[Block] | None:
    """Myers' greedy walk, or None when it would take too many differences or too long."""
    i0, i_end, j0, j_end = region
    width, height = i_end - i0, j_end - j0
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    for distance in range(min(DIFFERENCES_MAX, width + height) + 1):
        history.append(furthest.copy())
        for diagonal in range(-distance, distance + 1, 2):
            if diagonal > width or -diagonal > height:
                continue
            down = diagonal == -distance or (
                diagonal != distance and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
            )
            x = furthest[diagonal + 1] if down else furthest[diagonal - 1] + 1
            y = x - diagonal
            if x > width or y > height:
                # Off the grid: kept, so that its neighbours find a value; no path through it can be the end.
                furthest[diagonal] = x
                continue
            length = common_prefix(old, new, i0 + x, j0 + y, min(width - x, height - y))
            furthest[diagonal] = x + length
            budget.left -= 4 + length // 8
            if x + length == width and y + length == height:
                return _walk_back(history, width, height, i0, j0)
        if budget.left < 0:
            return None
    return None


def _walk_back(history: list[dict[int, int]], x: int, y: int, i0: int, j0: int) -> list[Block]:
    blocks: list[Block] = []
    for distance in range(len(history) - 1, -1, -1):
        furthest = history[distance]
        diagonal = x - y
        down = diagonal == -distance or (
            diagonal != distance and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
        )
        before = diagonal + 1 if down else diagonal - 1
        x_before = furthest[before] if distance else 0
        y_before = x_before - before if distance else 0
        x_start = x_before if down else x_before + 1
        if not distance:
            x_start = 0
        if x > x_start:
            blocks.append((i0 + x_start, j0 + x_start - diagonal, x - x_start))
        x, y = x_before, y_before
    return blocks


def _landmarks(
    old: Sequence[Hashable], new: Sequence[Hashable], region: tuple[int, int, int, int]
) -> list[tuple[int, int]]:
    """Elements that occur exactly once on each side, those of them that are in the same order."""
    i, i_end, j, j_end = region
    old_counts = Counter(old[i:i_end])
    new_counts = Counter(new[j:j_end])
    places = {new[to]: to for to in range(j, j_end) if new_counts[new[to]] == 1}
    pairs = [
        (at, places[old[at]]) for at in range(i, i_end) if old_counts[old[at]] == 1 and old[at] in places
    ]
    return [pairs[k] for k in increasing([to for _, to in pairs])]


def _joined(blocks: list[Block]) -> list[Block]:
    blocks.sort()
    joined: list[Block] = []
    for i, j, length in blocks:
        if joined:
            at, to, before = joined[-1]
            if at + before == i and to + before == j:
                joined[-1] = (at, to, before + length)
                continue
        joined.append((i, j, length))
    return joined
