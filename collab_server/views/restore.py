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

from collab_server.views.pairing import pairs
from collab_server.views.textdiff import TextChange, text_changes
from collab_server.views.tree import EMPTY, Leaf, Node, Run, Value, read_document, read_runs, runs_key
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
        ValueError: bytes that pycrdt cannot read, or a client id that is in use.
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
    with live_doc.transaction():
        for name, root in live.items():
            wanted = target.get(name, Node(EMPTY, None))
            if root.key != wanted.key:
                _restore_root(live_doc, name, root, wanted)
    return updates[0] if updates else None


def _keep(event: TransactionEvent, updates: list[bytes]) -> None:
    updates.append(event.update)


def _restore_root(doc: Doc[Any], name: str, live: Node, target: Node) -> None:
    sequence, wanted = _sequence_kind(live), _sequence_kind(target)
    if sequence and sequence != wanted:
        _clear(live)
        live = Node(EMPTY, None, entries=live.entries)
    if wanted:
        handle = live.handle if sequence == wanted else doc.get(name, type=_ROOT_TYPES[wanted])
        _edit_sequence(Node(wanted, handle, items=live.items, runs=live.runs), target)
    _edit_entries(doc.get(name, type=Map), live.entries, target.entries)


def _sequence_kind(root: Node) -> str:
    return root.kind if root.kind in _ROOT_TYPES else ""


def _clear(node: Node) -> None:
    length = len(node.handle.children) if node.kind in {"xml", "element"} else len(node.handle)
    if length:
        held = node.handle.children if node.kind in {"xml", "element"} else node.handle
        del held[0:length]


def _edit(live: Node, target: Node) -> None:
    """Make a shared type like another of the same kind, touching what differs only."""
    if live.key == target.key:
        return
    match live.handle:
        case Map():
            _edit_entries(live.handle, live.entries, target.entries)
        case XmlElement() | XmlText():
            _edit_entries(live.handle.attributes, live.entries, target.entries)
    if not isinstance(live.handle, Map):
        _edit_sequence(live, target)


def _edit_sequence(live: Node, target: Node) -> None:
    if live.kind in {"text", "xmltext"}:
        _edit_text(live, target)
    else:
        _edit_items(live, target)


def _edit_entries(held: Any, live: dict[str, Value], target: dict[str, Value]) -> None:
    for name, value in live.items():
        if name not in target:
            del held[name]
        elif isinstance(value, Node) and _can_become(value, target[name]):
            _edit_node(value, target[name])
    for name, value in target.items():
        mine = live.get(name)
        if mine is None or (mine.key != value.key and not _can_become(mine, value)):
            part = _empty_copy(value)
            held[name] = part
            _fill(part, value)


def _can_become(live: Value, target: Value) -> bool:
    return isinstance(live, Node) and isinstance(target, Node) and live.shape == target.shape


def _edit_node(live: Value, target: Value) -> None:
    assert isinstance(live, Node)  # noqa: S101 - for the type checker
    assert isinstance(target, Node)  # noqa: S101
    _edit(live, target)


def _edit_items(live: Node, target: Node) -> None:
    """From the end to the start, so that the places before are still what they were."""
    held = live.handle.children if live.kind in {"xml", "element"} else live.handle
    i_end, j_end = len(live.items), len(target.items)
    for i, j in [*reversed(pairs(live.items, target.items)), (-1, -1)]:
        _replace(held, i + 1, i_end, target.items[j + 1 : j_end])
        if i >= 0:
            mine, wanted = live.items[i], target.items[j]
            if mine.key != wanted.key:
                if _can_become(mine, wanted):
                    _edit_node(mine, wanted)
                else:
                    _replace(held, i, i + 1, [wanted])
        i_end, j_end = i, j


def _replace(held: Any, start: int, end: int, values: Sequence[Value]) -> None:
    if end > start:
        del held[start:end]
    for at, value in enumerate(values, start):
        part = _empty_copy(value)
        held.insert(at, part)
        _fill(part, value)


def _edit_text(live: Node, target: Node) -> None:
    text = live.handle
    wanted = runs_key(target.runs)
    if runs_key(live.runs) == wanted:
        return
    if len(text) == sum(run.units for run in live.runs):
        _apply(text, text_changes(live.runs, target.runs))
        if runs_key(read_runs(text)) == wanted:
            return
    # Its length is not that of what it shows (a name used for two kinds of type), or formats of deleted text
    # shine through: then it is written anew.
    del text[0 : len(text)]
    _insert_runs(text, 0, target.runs)


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
            _insert_runs(text, start, change.runs)
        elif change.formats:
            formats = {
                name: None if now is None else _writable(now.value)
                for name, (_, now) in change.formats.items()
            }
            text.format(start, end, formats)


def _insert_runs(text: Text | XmlText, at: int, runs: Sequence[Run]) -> None:
    for run in runs:
        # Named in full, also when there are none: else the text would take on what stands before it.
        attributes = {name: _writable(leaf.value) for name, leaf in run.attributes.items()}
        if isinstance(run.content, str):
            text.insert(at, run.content, attributes)
        else:
            part = _empty_copy(run.content)
            text.insert_embed(at, part, attributes)
            _fill(part, run.content)
        at += run.units


def _empty_copy(value: Value) -> Any:
    """What to insert for a value: shared types are empty until they are in the document, see ``_fill``."""
    if isinstance(value, Leaf):
        return _writable(value.value)
    match value.kind:
        case "map":
            return Map()
        case "array":
            return Array()
        case "text":
            return Text()
        case "element":
            return XmlElement(value.tag)
        case "xmltext":
            return XmlText()
        case _:
            return XmlFragment()


def _writable(value: Any) -> Any:
    """A value as pycrdt takes it: what it gives out for bytes, it would write as null."""
    match value:
        case bytearray() | memoryview():
            return bytes(value)
        case dict():
            return {name: _writable(item) for name, item in value.items()}
        case list() | tuple():
            return [_writable(item) for item in value]
        case Doc():
            return Doc(guid=value.guid)
        case _:
            return value


def _fill(part: Any, value: Value) -> None:
    if not isinstance(value, Node):
        return
    match part:
        case Map():
            _edit_entries(part, {}, value.entries)
        case XmlElement() | XmlText():
            _edit_entries(part.attributes, {}, value.entries)
    if isinstance(part, Text | XmlText):
        _insert_runs(part, 0, value.runs)
    elif isinstance(part, Array):
        _replace(part, 0, 0, value.items)
    elif isinstance(part, XmlFragment | XmlElement):
        _replace(part.children, 0, 0, value.items)
