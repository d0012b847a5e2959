"""What changed in a text: retained, deleted and inserted stretches, and formats that changed on what stays.

Words are matched first and characters inside of what is left, so that what is kept is what a reader would
call unchanged. Lengths and places are characters (code points), an embed is one; nobody's pair of surrogates
is split.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from collab_server.views.align import DIFFERENCES_MAX, Effort, align, common_prefix, common_suffix, gaps
from collab_server.views.tree import Key, Leaf, Run, equal_attributes

HUNKS_MAX = 3000
"""Separate edits to one text; more become fewer larger ones. For each pycrdt walks from the text's start."""
_CHARACTERS_MAX = 1000
_KEPT_MIN = 4
_CHANCE = 8
_WORDS = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")
_FIRST_PLACEHOLDER = 0xD800
_PLACEHOLDER = re.compile("[\ud800-\udfff]")

Hunk = tuple[int, int, int, int]
"""``(i, i_end, j, j_end)``: characters of the old text that become those of the new."""


@dataclass(slots=True)
class TextChange:
    """One step from an old text to a new one, in the order of the text."""

    op: str  # retain, delete, insert
    at: int  # place in the old text
    length: int
    runs: list[Run]  # what is retained or inserted, of the new text; what is deleted, of the old
    formats: dict[str, tuple[Leaf | None, Leaf | None]]  # retain: name -> (before, after)


def text_changes(old: Sequence[Run], new: Sequence[Run], effort: Effort) -> list[TextChange]:
    """The steps that make ``new`` of ``old``. Retained stretches have formats where these differ."""
    before, after = _flat(old, new)
    old_runs, new_runs = _Runs(old), _Runs(new)
    changes: list[TextChange] = []
    i = j = 0
    for at, at_end, to, to_end in [
        *_hunks(before, after, effort),
        (len(before), len(before), len(after), len(after)),
    ]:
        changes.extend(_retained(old_runs, new_runs, i, j, at - i))
        if at_end > at:
            changes.append(TextChange("delete", at, at_end - at, old_runs.cut(at, at_end), {}))
        if to_end > to:
            changes.append(TextChange("insert", at_end, to_end - to, new_runs.cut(to, to_end), {}))
        i, j = at_end, to_end
    return changes


class _Runs:
    """Runs by place."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        self.starts: list[int] = []
        at = 0
        for run in runs:
            self.starts.append(at)
            at += run.length

    def at(self, place: int) -> tuple[Run, int]:
        """The run that holds a place, and where it ends."""
        index = bisect_right(self.starts, place) - 1
        run = self.runs[index]
        return run, self.starts[index] + run.length

    def cut(self, start: int, end: int) -> list[Run]:
        """The runs between two places."""
        parts = []
        index = bisect_right(self.starts, start) - 1
        while start < end:
            run, begin = self.runs[index], self.starts[index]
            stop = min(end, begin + run.length)
            content = run.content
            parts.append(
                Run(content[start - begin : stop - begin], run.attributes)
                if isinstance(content, str)
                else run
            )
            start = stop
            index += 1
        return parts


def _retained(old: _Runs, new: _Runs, i: int, j: int, length: int) -> Iterator[TextChange]:
    """The stretch in pieces: one where formats stay, one for each change of them."""
    end = i + length
    kept_from = i
    while i < end:
        was, was_end = old.at(i)
        now, now_end = new.at(j)
        step = min(was_end - i, now_end - j, end - i)
        if not equal_attributes(was.attributes, now.attributes):
            if i > kept_from:
                back = i - kept_from
                yield TextChange("retain", kept_from, back, new.cut(j - back, j), {})
            names = sorted({*was.attributes, *now.attributes})
            pairs = {name: (was.attributes.get(name), now.attributes.get(name)) for name in names}
            formats = {name: pair for name, pair in pairs.items() if not _same(*pair)}
            yield TextChange("retain", i, step, new.cut(j, j + step), formats)
            kept_from = i + step
        i, j = i + step, j + step
    if i > kept_from:
        back = i - kept_from
        yield TextChange("retain", kept_from, back, new.cut(j - back, j), {})


def _same(one: Leaf | None, other: Leaf | None) -> bool:
    return one is not None and other is not None and one.key == other.key


def _flat(old: Sequence[Run], new: Sequence[Run]) -> tuple[str, str]:
    """Both as strings in which each different embed is a character that neither text has."""
    places: dict[Key, str] = {}
    taken: set[str] = set()
    embeds = sum(not isinstance(run.content, str) for run in (*old, *new))
    if embeds > 0x800:  # halves of surrogate pairs, which no text from pycrdt has, do not suffice
        taken.update(*(run.content for run in (*old, *new) if isinstance(run.content, str)))
    code = _FIRST_PLACEHOLDER
    flat = []
    for runs in (old, new):
        parts = []
        for run in runs:
            if isinstance(run.content, str):
                parts.append(run.content)
                continue
            key = run.content.key
            if key not in places:
                while chr(code) in taken:
                    code += 1
                places[key] = chr(code)
                code += 1
            parts.append(places[key])
        flat.append("".join(parts))
    return flat[0], flat[1]


def _hunks(old: str, new: str, effort: Effort) -> list[Hunk]:
    start = common_prefix(old, new, 0, 0, min(len(old), len(new)))
    shorter = min(len(old), len(new)) - start
    end = common_suffix(old, new, len(old), len(new), shorter)
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    if not middle_old and not middle_new:
        return []
    found = [
        (start + i, start + i_end, start + j, start + j_end)
        for hunk in _word_hunks(middle_old, middle_new, effort)
        for i, i_end, j, j_end in _character_hunks(middle_old, middle_new, hunk, effort)
    ]
    return _fewer(_without_chance(old, found))


def _word_hunks(old: str, new: str, effort: Effort) -> list[Hunk]:
    old_words, new_words = _WORDS.findall(old), _WORDS.findall(new)
    old_at, new_at = _places(old_words), _places(new_words)
    return [
        (old_at[i], old_at[i_end], new_at[j], new_at[j_end])
        for i, i_end, j, j_end in gaps(align(old_words, new_words, effort), len(old_words), len(new_words))
    ]


def _places(words: Sequence[str]) -> list[int]:
    return [0, *accumulate(map(len, words))]


def _character_hunks(old: str, new: str, hunk: Hunk, effort: Effort) -> list[Hunk]:
    i, i_end, j, j_end = hunk
    length = i_end - i + j_end - j
    if i == i_end or j == j_end or length > _CHARACTERS_MAX:
        return [hunk]
    # Where more than half differs, what is equal is so by chance.
    blocks = align(old[i:i_end], new[j:j_end], effort, min(DIFFERENCES_MAX, length // 2 + 2))
    between = gaps(blocks, i_end - i, j_end - j)
    return [(i + a, i + b, j + c, j + d) for a, b, c, d in between]


def _without_chance(old: str, hunks: Sequence[Hunk]) -> list[Hunk]:
    """Join hunks that both change much more than what is between them: an "e" in other words is chance.

    An embed is never given up so.
    """
    joined: list[Hunk] = []
    for hunk in hunks:
        if joined:
            i, i_end, j, j_end = joined[-1]
            kept = hunk[0] - i_end
            changes = min(max(i_end - i, j_end - j), max(hunk[1] - hunk[0], hunk[3] - hunk[2]))
            if kept < max(min(_KEPT_MIN, changes), changes // _CHANCE) and not _PLACEHOLDER.search(
                old, i_end, hunk[0]
            ):
                joined[-1] = (i, hunk[1], j, hunk[3])
                continue
        joined.append(hunk)
    return joined


def _fewer(hunks: list[Hunk]) -> list[Hunk]:
    """No more than the maximum: those with the least between them become one."""
    if len(hunks) <= HUNKS_MAX:
        return hunks
    kept = [(hunks[k + 1][0] - hunks[k][1], k) for k in range(len(hunks) - 1)]
    ends = sorted(k for _, k in sorted(kept, reverse=True)[: HUNKS_MAX - 1])
    fewer = []
    first = 0
    for last in [*ends, len(hunks) - 1]:
        fewer.append((hunks[first][0], hunks[last][1], hunks[first][2], hunks[last][3]))
        first = last + 1
    return fewer
