"""Which parts of two sequences are the same: a difference in bounded time, smallest where that is cheap.

Knows nothing of documents: it compares any two sequences of hashable elements, strings included. Where few
elements differ the answer is a shortest edit (E. Myers, "An O(ND) Difference Algorithm and Its Variations");
where many do, elements that occur once on each side are the landmarks and what lies between them is compared
by itself. What has neither is given up, which is always correct: unmatched means "replaced".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence

Region = tuple[int, int, int, int]
Block = tuple[int, int, int]
"""``(i, j, n)``: ``old[i:i+n] == new[j:j+n]``, in ascending order of both."""

DIFFERENCES_MAX = 400
"""Elements that a shortest edit may touch before landmarks are looked for; its memory is the square of it."""
COMPARISONS_MAX = 500_000
"""About a microsecond each."""
_LANDMARK_SPANS = (1, 4, 16)
_STRIDE = 64
_SEEN_PER_ELEMENT_MAX = 8


class Effort:
    """The comparisons that are left for shortest edits, shared by all that is compared for one purpose.

    When they are used up, only equal beginnings, equal ends and landmarks are found: that is linear.
    """

    __slots__ = ("left",)

    def __init__(self, comparisons_max: int = COMPARISONS_MAX) -> None:
        self.left = comparisons_max


def align(
    old: Sequence[Hashable],
    new: Sequence[Hashable],
    effort: Effort | None = None,
    differences_max: int = DIFFERENCES_MAX,
) -> list[Block]:
    """The blocks that both have in common; touching neighbours are one. ``effort`` bounds the time."""
    effort = effort or Effort()
    seen_max = _SEEN_PER_ELEMENT_MAX * (len(old) + len(new))
    found: list[Block] = []
    regions = [(0, len(old), 0, len(new))]
    while regions:
        region = _trim(old, new, regions.pop(), found)
        i, i_end, j, j_end = region
        if i == i_end or j == j_end:
            continue
        blocks = _shortest_edit(old, new, region, effort, differences_max)
        if blocks is not None:
            found.extend(blocks)
            continue
        landmarks, seen = _landmarks(old, new, region) if seen_max > 0 else ([], 0)
        seen_max -= seen
        for at, to, length in landmarks:
            regions.append((i, at, j, to))
            found.append((at, to, length))
            i, j = at + length, to + length
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


def _trim(
    old: Sequence[Hashable],
    new: Sequence[Hashable],
    region: Region,
    found: list[Block],
) -> Region:
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
    region: Region,
    effort: Effort,
    differences_max: int,
) -> list[Block] | None:
    """Myers' greedy walk, or None when it would take too many differences or too long."""
    i0, i_end, j0, j_end = region
    width, height = i_end - i0, j_end - j0
    furthest = {1: 0}
    history: list[dict[int, int]] = []
    for distance in range(min(differences_max, width + height) + 1):
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
            effort.left -= 1 + length // 32
            if x + length == width and y + length == height:
                return _walk_back(history, width, height, i0, j0)
        if effort.left < 0:
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


def _landmarks(old: Sequence[Hashable], new: Sequence[Hashable], region: Region) -> tuple[list[Block], int]:
    """What occurs exactly once on each side, and in the same order: single elements, else some in a row.

    Also how many elements were looked at.
    """
    i, i_end, j, j_end = region
    looked_at = 0
    for span in _LANDMARK_SPANS:
        if span > min(i_end - i, j_end - j):
            break
        looked_at += i_end - i + j_end - j
        old_spans = _spans(old[i:i_end], span)
        new_spans = _spans(new[j:j_end], span)
        new_once = _once(new_spans)
        both = [
            (at, new_once[seen])
            for seen, at in _once(old_spans).items()
            if at >= 0 and new_once.get(seen, -1) >= 0
        ]
        blocks: list[Block] = []
        at_free = to_free = 0
        for k in increasing([to for _, to in both]):
            at, to = both[k]
            if at >= at_free and to >= to_free:
                blocks.append((i + at, j + to, span))
                at_free, to_free = at + span, to + span
        if blocks:
            return blocks, looked_at
    return [], looked_at


def _once(values: Sequence[Hashable]) -> dict[Hashable, int]:
    """Where each value is, by first occurrence; -1 for those that occur again."""
    places: dict[Hashable, int] = {}
    for at, value in enumerate(values):
        places[value] = -1 if value in places else at
    return places


def _spans(values: Sequence[Hashable], span: int) -> list[Hashable]:
    return list(values) if span == 1 else list(zip(*(values[k:] for k in range(span)), strict=False))


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
