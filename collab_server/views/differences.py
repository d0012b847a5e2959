"""What differs between two versions of a document, as JSON that a person can be shown.

The format is described in ``docs/history.md``. Runs in a worker process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Doc

from collab_server.views.align import Effort
from collab_server.views.excerpts import Excerpt, middle_cut, plain_text, utf16_length
from collab_server.views.pairing import pairs, tokens
from collab_server.views.textdiff import TextChange, text_changes
from collab_server.views.tree import EMPTY, Leaf, Node, Run, Value, id_of, identity, read_document
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.statevector import StateVector, decode_state_vector

Entry = dict[str, Any]
Path = list[Any]

COUNTED = ("added", "removed", "moved", "changed", "inserted", "deleted", "formatted")


@dataclass(frozen=True, slots=True)
class DifferenceLimits:
    """How much of a difference is shown. What is not shown is still counted."""

    entries_max: int = 1000
    """Entries in the whole answer."""
    segments_max: int = 200
    """Segments of one text."""
    value_characters_max: int = 2000
    """Characters of one value, before or after; and of one inserted or deleted segment."""
    context_characters_max: int = 80
    """Characters of one retained segment: half from its start, half from its end. Also of one format."""
    name_characters_max: int = 200
    """Characters of one name: a key, an id, a tag, a format."""
    formats_max: int = 50
    """Formats of one segment."""
    characters_max: int = 1_000_000
    """Characters of all paths, values and segments; past it no entry is listed."""


DEFAULT_LIMITS = DifferenceLimits()


def difference(
    old_update: bytes,
    new_update: bytes,
    authors: Sequence[str] = (),
    limits: DifferenceLimits = DEFAULT_LIMITS,
) -> dict[str, Any]:
    """What was added, removed, moved and changed from the old version to the new one.

    By whom: ``authors``, the users of the stretch as the caller knows them, are passed on. ``clients`` are
    the Yjs clients whose insertions the new version knows and the old one does not, with how much each
    inserted (clock units: characters, items, keys, formats), deleted again or not. Who *deleted* something
    cannot be told: a Yjs document does not hold it.

    Args:
        old_update: the whole document as it was.
        new_update: the whole document as it is; need not be the later one.
        authors: user ids.
        limits: how much is shown.

    Raises:
        ValueError: bytes that pycrdt cannot read.
    """
    old, old_vector = _read(old_update)
    new, new_vector = _read(new_update)
    writer = _Writer(limits)
    roots = []
    for name in sorted({*old, *new}):
        before, after = old.get(name, _NOTHING), new.get(name, _NOTHING)
        if before.key != after.key:
            outer, writer.counts = writer.counts, dict.fromkeys(COUNTED, 0)
            entry = writer.root(name, before, after)
            entry["counts"] = writer.counts
            writer.counts = {count: outer[count] + writer.counts[count] for count in COUNTED}
            roots.append(entry)
    return {
        "authors": sorted(set(authors)),
        "clients": _clients(old_vector, new_vector),
        "counts": writer.counts,
        "roots": roots,
        "truncated": writer.truncated,
    }


_NOTHING = Node(EMPTY, None)


def _read(update: bytes) -> tuple[dict[str, Node], StateVector]:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    with doc.transaction():
        roots = read_document(doc)
    vector = decode_state_vector(doc.get_state(), UNBOUNDED)
    # The key of a root that holds nothing is that of no root at all.
    return {name: root for name, root in roots.items() if root.kind != EMPTY}, vector


def _clients(old: StateVector, new: StateVector) -> list[dict[str, int]]:
    return [
        {"client": client, "inserted": clock - old.get(client, 0)}
        for client, clock in sorted(new.items())
        if clock > old.get(client, 0)
    ]


@dataclass(slots=True)
class _Writer:
    limits: DifferenceLimits
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
    entries_count: int = 0
    characters_count: int = 0
    truncated: bool = False
    effort: Effort = field(default_factory=Effort)

    def root(self, name: str, old: Node, new: Node) -> Entry:
        """The entry of a root; unlike others it is there also when nothing of it can be shown any more."""
        if old.kind == EMPTY:
            return self._added([name], new)
        if new.kind == EMPTY:
            return self._removed([name], old)
        return self._changed([name], old, new)

    def _added(self, path: Path, value: Value, **more: Any) -> Entry:
        self.counts["added"] += 1
        return self._entry("added", path, value, more, after=value)

    def _removed(self, path: Path, value: Value, **more: Any) -> Entry:
        self.counts["removed"] += 1
        return self._entry("removed", path, value, more, before=value)

    def _changed(self, path: Path, old: Value, new: Value, **more: Any) -> Entry:
        if isinstance(old, Leaf) or isinstance(new, Leaf) or old.shape != new.shape:
            self.counts["changed"] += 1
            entry = self._entry("changed", path, new, more, before=old, after=new)
            if _kind(old) != _kind(new):
                entry["kind_before"] = _kind(old)
            return entry
        entry = self._entry("changed", path, new, more)
        self._inside(entry, path, old, new)
        return entry

    def _moved(self, path: Path, old: Value, new: Value, **more: Any) -> Entry:
        self.counts["moved"] += 1
        if old.key == new.key:
            return self._entry("moved", path, new, more)
        entry = self._changed(path, old, new, **more)
        entry["change"] = "moved"
        return entry

    def _entry(
        self,
        change: str,
        path: Path,
        value: Value,
        more: dict[str, Any],
        before: Value | None = None,
        after: Value | None = None,
    ) -> Entry:
        self.entries_count += 1
        self.characters_count += sum(map(_cost, path))
        entry = {"change": change, "path": path, "kind": _kind(value)}
        if isinstance(value, Node) and value.tag:
            entry["tag"] = self._name(value.tag)
        entry.update(more)
        for side, shown in (("before", before), ("after", after)):
            if shown is not None:
                self._show(entry, side, shown)
        return entry

    def _show(self, entry: Entry, side: str, value: Value) -> None:
        excerpt = self._excerpt(value)
        entry[side] = excerpt.value
        if excerpt.truncated:
            entry["truncated"] = self.truncated = True

    def _excerpt(self, value: Value) -> Excerpt:
        left = max(self.limits.characters_max - self.characters_count, 0)
        excerpt = Excerpt(value, min(self.limits.value_characters_max, left))
        self.characters_count += excerpt.used
        return excerpt

    def _name(self, name: str) -> str:
        return middle_cut(name, self.limits.name_characters_max)

    def _has_room(self) -> bool:
        return (
            self.entries_count < self.limits.entries_max
            and self.characters_count < self.limits.characters_max
        )

    def _inside(self, entry: Entry, path: Path, old: Node, new: Node) -> None:
        """The nested difference of two shared types of one kind."""
        if new.kind in {"text", "xmltext"}:
            self.counts["changed"] += 1
            self._text(entry, text_changes(old.runs, new.runs, self.effort))
            if not old.entries and not new.entries:
                return
        changes: list[Entry] = []
        for make in (*self._keys(path, old, new), *self._items(path, old.items, new.items)):
            # Past the limit it is still made, so that it is counted.
            room = self._has_room()
            nested = make()
            if room:
                changes.append(nested)
            else:
                entry["truncated"] = self.truncated = True
        entry["changes"] = changes

    def _keys(self, path: Path, old: Node, new: Node) -> Iterator[Any]:
        for name in sorted({*old.entries, *new.entries}):
            before, after = old.entries.get(name), new.entries.get(name)
            shown = self._name(name)
            step = [*path, shown if new.kind == "map" else {"attribute": shown}]
            if before is None and after is not None:
                yield lambda step=step, after=after: self._added(step, after)
            elif before is not None and after is None:
                yield lambda step=step, before=before: self._removed(step, before)
            elif before is not None and after is not None and before.key != after.key:
                yield lambda step=step, b=before, a=after: self._changed(step, b, a)

    def _items(self, path: Path, old: Sequence[Value], new: Sequence[Value]) -> Iterator[Any]:
        """Removed ones first, then the rest in the order of the new sequence."""
        stayed = {j: i for i, j in pairs(old, new, self.effort)}
        kept = set(stayed.values())
        places = {token: i for i, token in enumerate(tokens(old)) if i not in kept and identity(old[i])}
        moved = {
            j: places[token]
            for j, token in enumerate(tokens(new))
            if j not in stayed and token in places and identity(new[j])
        }
        kept.update(moved.values())
        for i, value in enumerate(old):
            if i not in kept:
                yield lambda i=i, value=value: self._removed(
                    self._step(path, value, i), value, index_before=i
                )
        for j, value in enumerate(new):
            step = self._step(path, value, j)
            if j in moved:
                i = moved[j]
                yield lambda step=step, i=i, j=j, value=value: self._moved(
                    step, old[i], value, index=j, index_before=i
                )
            elif j not in stayed:
                yield lambda step=step, j=j, value=value: self._added(step, value, index=j)
            elif old[stayed[j]].key != value.key:
                i = stayed[j]
                yield lambda step=step, i=i, j=j, value=value: self._changed(
                    step, old[i], value, index=j, index_before=i
                )

    def _step(self, path: Path, value: Value, index: int) -> Path:
        if identity(value) is None:
            return [*path, index]
        found = id_of(value)
        shown = self._name(found) if isinstance(found, str) else self._small(Leaf(found, b""))
        return [*path, {"id": shown}]

    def _text(self, entry: Entry, changes: Sequence[TextChange]) -> None:
        inserted = deleted = formatted = 0
        segments: list[Entry] = []
        for change in changes:
            length = utf16_length(change.runs)
            inserted += length if change.op == "insert" else 0
            deleted += length if change.op == "delete" else 0
            formatted += length if change.formats else 0
            segments.extend(self._segments(change))
        if len(segments) > self.limits.segments_max:
            del segments[self.limits.segments_max :]
            entry["truncated"] = True
        if entry.get("truncated") or any(segment.get("truncated") for segment in segments):
            self.truncated = True
        entry.update(inserted=inserted, deleted=deleted, formatted=formatted, segments=segments)
        for name, count in (("inserted", inserted), ("deleted", deleted), ("formatted", formatted)):
            self.counts[name] += count

    def _segments(self, change: TextChange) -> Iterator[Entry]:
        if change.op == "retain":
            text = plain_text(change.runs)
            segment: Entry = {"op": "retain", "length": utf16_length(change.runs)}
            segment["text"] = middle_cut(text, self.limits.context_characters_max)
            self.characters_count += len(segment["text"])
            if change.formats:
                shown = list(change.formats.items())[: self.limits.formats_max]
                segment["attributes"] = {
                    self._name(name): {"before": self._small(before), "after": self._small(after)}
                    for name, (before, after) in shown
                }
            yield segment
            return
        for run in change.runs:
            yield self._run(change.op, run)

    def _run(self, op: str, run: Run) -> Entry:
        segment: Entry = {"op": op, "length": utf16_length([run])}
        content = Leaf(run.content, b"") if isinstance(run.content, str) else run.content
        excerpt = self._excerpt(content)
        segment["text" if isinstance(run.content, str) else "embed"] = excerpt.value
        if excerpt.truncated:
            segment["truncated"] = True
        if run.attributes:
            shown = list(run.attributes.items())[: self.limits.formats_max]
            segment["attributes"] = {self._name(name): self._small(value) for name, value in shown}
        return segment

    def _small(self, value: Leaf | None) -> Any:
        return None if value is None else Excerpt(value, self.limits.context_characters_max).value


def _kind(value: Value) -> str:
    return value.kind if isinstance(value, Node) else "value"


def _cost(step: Any) -> int:
    name = next(iter(step.values())) if isinstance(step, dict) else step
    return 8 + (len(name) if isinstance(name, str) else 0)
