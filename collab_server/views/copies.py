"""Copies of values, made in another document.

A shared type belongs to one document and one place: a copy is inserted empty and filled where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab_server.views.tree import Leaf, Node, Run, Value

_XML_NODES = frozenset({"element", "xmltext"})
_XML = _XML_NODES | {"xml"}


def set_entry(held: Any, name: str, value: Value) -> None:
    """Set a key of a map, or an attribute of an XML type, to a copy."""
    wrapped = _wrapped(held, value)
    part = _empty_copy(wrapped)
    held[name] = part
    _fill(part, wrapped)


def replace_items(held: Any, start: int, end: int, values: Sequence[Value]) -> None:
    """Replace a stretch of an array, or of the children of an XML type, by copies."""
    if end > start:
        del held[start:end]
    for at, value in enumerate(values, start):
        wrapped = _wrapped(held, value)
        part = _empty_copy(wrapped)
        held.insert(at, part)
        _fill(part, wrapped)


def insert_runs(text: Text | XmlText, at: int, runs: Sequence[Run]) -> None:
    """Insert copies of runs at a place that is counted as pycrdt does.

    Raises:
        ValueError: an embed that is an XML type, in a Y.Text.
    """
    for run in runs:
        # Named in full, also when there are none: else the text would take on what stands before it.
        attributes = {name: writable(leaf.value) for name, leaf in run.attributes.items()}
        if isinstance(run.content, str):
            text.insert(at, run.content, attributes)
        else:
            if isinstance(run.content, Node) and run.content.kind in _XML and isinstance(text, Text):
                raise ValueError("pycrdt cannot write an XML type into a Y.Text")
            part = _empty_copy(run.content)
            text.insert_embed(at, part, attributes)
            _fill(part, run.content)
        at += run.units


def writable(value: Any) -> Any:
    """A plain value as pycrdt takes it: what it gives out for bytes, it would write as null."""
    match value:
        case bytearray() | memoryview():
            return bytes(value)
        case dict():
            return {name: writable(item) for name, item in value.items()}
        case list() | tuple():
            return [writable(item) for item in value]
        case Doc():
            return Doc(guid=value.guid)
        case _:
            return value


def _wrapped(held: Any, value: Value) -> Value:
    """An XML node in a fragment, where it would stand by itself in a map or an array: pycrdt refuses that."""
    if isinstance(value, Node) and value.kind in _XML_NODES and isinstance(held, Map | Array):
        return Node("xml", None, items=[value])
    return value


def _empty_copy(value: Value) -> Any:
    """What to insert for a value: shared types are empty until they are in the document, see ``_fill``."""
    if isinstance(value, Leaf):
        return writable(value.value)
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


def _fill(part: Any, value: Value) -> None:
    if not isinstance(value, Node):
        return
    match part:
        case Map():
            held: Any = part
        case XmlElement() | XmlText():
            held = part.attributes
        case _:
            held = None
    for name, entry in value.entries.items():
        set_entry(held, name, entry)
    if isinstance(part, Text | XmlText):
        insert_runs(part, 0, value.runs)
    elif isinstance(part, Array):
        replace_items(part, 0, 0, value.items)
    elif isinstance(part, XmlFragment | XmlElement):
        replace_items(part.children, 0, 0, value.items)
