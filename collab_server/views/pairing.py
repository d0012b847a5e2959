"""Which items of two sequences are the same item: by their ``id``, by equal content, or by likeness in place.

Yjs has no identity that outlives a deletion, so two versions are compared by what they hold. A pair found
here is in order in both sequences: a restore edits its item in place, and so keeps what others write into it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from collab_server.views.align import Effort, align, gaps
from collab_server.views.tree import Leaf, Node, Value, identity

Pair = tuple[int, int]

LIKENESS_MIN = 0.25
_GRID_MAX = 2500
_FEATURES_MAX = 256
_WORD = re.compile(r"\w+")


def pairs(old: Sequence[Value], new: Sequence[Value], effort: Effort) -> list[Pair]:
    """The items that stay, ``old[i]`` as ``new[j]``, ascending in both; equal or to be edited."""
    old_tokens, new_tokens = tokens(old), tokens(new)
    blocks = align(old_tokens, new_tokens, effort)
    found = [(i + k, j + k) for i, j, length in blocks for k in range(length)]
    for i, i_end, j, j_end in gaps(blocks, len(old), len(new)):
        found.extend((i + a, j + b) for a, b in _alike(old[i:i_end], new[j:j_end]))
    return sorted(found)


def tokens(values: Sequence[Value]) -> list[Hashable]:
    """What identifies each item: its ``id`` and how often that came before, or its content."""
    seen: Counter[Hashable] = Counter()
    found: list[Hashable] = []
    for value in values:
        own = identity(value)
        if own is None:
            found.append(value.key)
            continue
        found.append((own, seen[own]))
        seen[own] += 1
    return found


def _alike(old: Sequence[Value], new: Sequence[Value]) -> Iterator[Pair]:
    """Pairs of what has neither an id nor an equal on the other side."""
    if len(old) == len(new) == 1 and _editable(old[0], new[0]):
        yield 0, 0
    elif len(old) == len(new) and all(_plain(value) for value in (*old, *new)):
        yield from ((at, at) for at in range(len(old)))
    elif 0 < len(old) * len(new) <= _GRID_MAX:
        yield from _most_alike(old, new)
    else:
        yield from _first_alike(old, new)


def _plain(value: Value) -> bool:
    return isinstance(value, Leaf) and identity(value) is None


def _editable(old: Value, new: Value) -> bool:
    if isinstance(old, Leaf) or isinstance(new, Leaf):
        return _plain(old) and _plain(new)
    return old.shape == new.shape and identity(old) is None and identity(new) is None


def _most_alike(old: Sequence[Value], new: Sequence[Value]) -> Iterator[Pair]:
    """The pairs in order whose likenesses add up to the most."""
    old_features = [_features(value) for value in old]
    new_features = [_features(value) for value in new]
    likeness = [
        [_likeness(one, a, other, b) for other, b in zip(new, new_features, strict=True)]
        for one, a in zip(old, old_features, strict=True)
    ]
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in range(len(old) - 1, -1, -1):
        for j in range(len(new) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + likeness[i][j])
    i = j = 0
    while i < len(old) and j < len(new):
        if likeness[i][j] and best[i][j] == best[i + 1][j + 1] + likeness[i][j]:
            yield i, j
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1


def _first_alike(old: Sequence[Value], new: Sequence[Value]) -> Iterator[Pair]:
    """Too many to compare each with each: those of the same shape, in order."""
    j = 0
    for i, value in enumerate(old):
        if isinstance(value, Leaf):
            continue
        at = j
        while at < len(new) and at < j + 16 and not _editable(value, new[at]):
            at += 1
        if at < min(len(new), j + 16):
            yield i, at
            j = at + 1


def _likeness(old: Value, a: frozenset[Hashable], new: Value, b: frozenset[Hashable]) -> float:
    if isinstance(old, Leaf) or isinstance(new, Leaf) or not _editable(old, new):
        return 0.0
    if not a and not b:
        return 1.0
    shared = 2 * len(a & b) / (len(a) + len(b))
    return shared if shared >= LIKENESS_MIN else 0.0


def _features(value: Value) -> frozenset[Hashable]:
    found: set[Hashable] = set()
    if isinstance(value, Node):
        _collect(value, found)
    return frozenset(found)


def _collect(node: Node, found: set[Hashable]) -> None:
    for name, entry in node.entries.items():
        found.add((name, entry.key))
        _collect_value(entry, found)
    for item in node.items:
        found.add(item.key)
        _collect_value(item, found)
    for run in node.runs:
        if isinstance(run.content, str):
            found.update(
                word.group() for word, _ in zip(_WORD.finditer(run.content), range(64), strict=False)
            )
        else:
            found.add(run.content.key)
        if len(found) >= _FEATURES_MAX:
            return


def _collect_value(value: Value, found: set[Hashable]) -> None:
    if isinstance(value, Node) and len(found) < _FEATURES_MAX:
        _collect(value, found)
