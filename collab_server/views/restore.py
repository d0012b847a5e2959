"""Restore: the smallest edit that gives a living document the content that it had in another version.

A restore is an edit like anybody's, not a rollback: what did not differ is not touched, so that what others
write there at the same time stays, and undo is another restore. Runs in a worker process.

What pycrdt cannot tell apart or write comes back as the nearest value: undefined as null, a BigInt below
2**53 as a number, a subdocument without its options, the attributes of a nested Y.Text not at all. An XML
element or XML text that stood right inside of a Map or an Array comes back wrapped in a fragment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycrdt import Array, Doc, Map, Text, TransactionEvent, XmlElement, XmlFragment, XmlText

from collab_server.views.align import Effort
from collab_server.views.copies import insert_runs, replace_items, set_entry, writable
from collab_server.views.pairing import pairs
from collab_server.views.textdiff import TextChange, text_changes
from collab_server.views.tree import EMPTY, Node, Value, read_document, read_runs, runs_key
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.statevector import decode_state_vector

_ROOT_TYPES: dict[str, Any] = {"text": Text, "array": Array, "xml": XmlFragment}


def restore(live_update: bytes, target_update: bytes, client_id: int) -> bytes | None:
    """The update that turns the content of the live document into that of the target.

    It is one transaction by ``client_id``, and follows the live document: applied to that, the content of
    every root is the target's; roots that the target does not know are emptied. Applied together with edits
    that the live document did not have yet, it converges as any two edits do.

    Args:
        live_update: the whole live document.
        target_update: the whole document whose content is wanted; it need not share any history with the
            live one.
        client_id: a Yjs client id that has never written into the live document.

    Returns:
        The update, or None when the contents are equal.

    Raises:
        ValueError: bytes that pycrdt cannot read; a client id that is in use; an XML type that would have to
            be inserted into a Y.Text.
    """
    target_doc: Doc[Any] = Doc()
    target_doc.apply_update(target_update)
    live_doc: Doc[Any] = Doc(client_id=client_id)
    live_doc.apply_update(live_update)
    if client_id in decode_state_vector(live_doc.get_state(), UNBOUNDED):
        raise ValueError(f"client {client_id} has written into this document already")
    with target_doc.transaction():
        target = read_document(target_doc)
    with live_doc.transaction():
        live = read_document(live_doc, target)
    updates: list[bytes] = []
    live_doc.observe(lambda event: _keep(event, updates))
    editor = _Editor(live_doc)
    with live_doc.transaction():
        for name, root in live.items():
            wanted = target.get(name, Node(EMPTY, None))
            if root.key != wanted.key:
                editor.restore_root(name, root, wanted)
    return updates[0] if updates else None


def _keep(event: TransactionEvent, updates: list[bytes]) -> None:
    updates.append(event.update)


class _Editor:
    """Edits the live document; all its comparisons share one bound."""

    def __init__(self, doc: Doc[Any]) -> None:
        self._doc = doc
        self._effort = Effort()

    def restore_root(self, name: str, live: Node, target: Node) -> None:
        """Make a root like another, whatever kinds they are."""
        sequence, wanted = _sequence_kind(live), _sequence_kind(target)
        if sequence and sequence != wanted:
            _clear(live)
            live = Node(EMPTY, None, entries=live.entries)
        if wanted:
            handle = live.handle if sequence == wanted else self._doc.get(name, type=_ROOT_TYPES[wanted])
            self._edit_sequence(Node(wanted, handle, items=live.items, runs=live.runs), target)
        self._edit_entries(self._doc.get(name, type=Map), live.entries, target.entries)

    def _edit(self, live: Value, target: Value) -> bool:
        """Make a value like another, touching what differs only; False where their shapes differ."""
        if live.key == target.key:
            return True
        if not isinstance(live, Node) or not isinstance(target, Node) or live.shape != target.shape:
            return False
        match live.handle:
            case Map():
                self._edit_entries(live.handle, live.entries, target.entries)
                return True
            case XmlElement() | XmlText():
                self._edit_entries(live.handle.attributes, live.entries, target.entries)
        self._edit_sequence(live, target)
        return True

    def _edit_sequence(self, live: Node, target: Node) -> None:
        if live.kind in {"text", "xmltext"}:
            self._edit_text(live, target)
        else:
            self._edit_items(live, target)

    def _edit_entries(self, held: Any, live: dict[str, Value], target: dict[str, Value]) -> None:
        for name in live:
            if name not in target:
                del held[name]
        for name, value in target.items():
            mine = live.get(name)
            if mine is None or not self._edit(mine, value):
                set_entry(held, name, value)

    def _edit_items(self, live: Node, target: Node) -> None:
        """From the end to the start, so that the places before are still what they were."""
        held = live.handle.children if live.kind in {"xml", "element"} else live.handle
        i_end, j_end = len(live.items), len(target.items)
        for i, j in [*reversed(pairs(live.items, target.items, self._effort)), (-1, -1)]:
            replace_items(held, i + 1, i_end, target.items[j + 1 : j_end])
            if i >= 0 and not self._edit(live.items[i], target.items[j]):
                replace_items(held, i, i + 1, [target.items[j]])
            i_end, j_end = i, j

    def _edit_text(self, live: Node, target: Node) -> None:
        text = live.handle
        wanted = runs_key(target.runs)
        if runs_key(live.runs) == wanted:
            return
        if len(text) == sum(run.units for run in live.runs):
            _apply(text, text_changes(live.runs, target.runs, self._effort))
            if runs_key(read_runs(text)) == wanted:
                return
        # Written anew, where its length is not that of what it shows (a name used for two kinds of type), or
        # formats of deleted text shine through.
        del text[0 : len(text)]
        insert_runs(text, 0, target.runs)


def _sequence_kind(root: Node) -> str:
    return root.kind if root.kind in _ROOT_TYPES else ""


def _clear(root: Node) -> None:
    held = root.handle.children if root.kind == "xml" else root.handle
    if len(held):
        del held[0 : len(held)]


def _apply(text: Text | XmlText, changes: Sequence[TextChange]) -> None:
    places = []
    at = 0
    for change in changes:
        places.append(at)
        if change.op != "insert":
            at += sum(run.units for run in change.runs)
    ends = [*places[1:], at]
    for change, start, end in reversed(list(zip(changes, places, ends, strict=True))):
        if change.op == "delete":
            del text[start:end]
        elif change.op == "insert":
            insert_runs(text, start, change.runs)
        elif change.formats:
            formats = {
                name: None if now is None else writable(now.value)
                for name, (_, now) in change.formats.items()
            }
            text.format(start, end, formats)
