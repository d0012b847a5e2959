"""A document as a tree that can be compared: every value has a key, and equal content has equal keys.

Both the differences between two versions and a restore start from here. Numbers are equal as JavaScript's
are (1 is 1.0, NaN is itself); a BigInt below 2**53 is the number, undefined is null: pycrdt has lost that.
Each part of the tree keeps the pycrdt type that it was read from, so that a restore can edit it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab_server.views.documents import KINDS, SAFE_INTEGER_MAX, SHARED_TYPES, _root

Key: TypeAlias = bytes
EMPTY = "empty"
_LONG_KEY = 48
_MANY_ITEMS = 256


@dataclass(slots=True)
class Leaf:
    """What is not a shared type: a JSON value, bytes, or a subdocument."""

    value: Any
    key: Key


@dataclass(slots=True)
class Run:
    """Characters with equal attributes, or one embed."""

    content: str | Leaf | Node
    attributes: dict[str, Leaf]

    @property
    def length(self) -> int:
        """Characters; an embed is one."""
        return len(self.content) if isinstance(self.content, str) else 1

    @property
    def units(self) -> int:
        """The length that pycrdt counts: bytes of UTF-8; an embed is one."""
        return len(self.content.encode()) if isinstance(self.content, str) else 1


@dataclass(slots=True)
class Node:
    """A shared type. Which of the three parts it has depends on its kind; a root can have several."""

    kind: str  # map, array, text, xml (a fragment), element, xmltext; a root can be empty
    handle: Any
    tag: str = ""
    entries: dict[str, Value] = field(default_factory=dict)
    items: list[Value] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    key: Key = b""

    @property
    def shape(self) -> tuple[str, str]:
        """What must be equal so that one can be edited into the other."""
        return self.kind, self.tag


Value: TypeAlias = Leaf | Node


def read_document(doc: Doc[Any], names: Iterable[str] = ()) -> dict[str, Node]:
    """The roots of a document by name, those of ``names`` also where the document does not have them."""
    return {name: _read_root(doc, name) for name in sorted({*doc.keys(), *names})}


def read_runs(text: Text | XmlText) -> list[Run]:
    """The content of a text, neighbours of equal attributes as one run."""
    runs: list[Run] = []
    for content, found in text.diff():
        attributes = {
            name: _leaf(value) for name, value in sorted((found or {}).items()) if value is not None
        }
        last = runs[-1] if runs else None
        if (
            last is not None
            and isinstance(content, str)
            and isinstance(last.content, str)
            and equal_attributes(last.attributes, attributes)
        ):
            last.content += content
        else:
            runs.append(Run(content if isinstance(content, str) else read_value(content), attributes))
    return runs


def runs_key(runs: Sequence[Run]) -> Key:
    """The key of a text's content."""
    parts = []
    for run in runs:
        content = run.content
        parts.append(b"s" + _utf8(content) if isinstance(content, str) else b"e" + content.key)
        parts.append(_entries_key(run.attributes))
    return _key(b"t", parts)


def equal_attributes(one: dict[str, Leaf], other: dict[str, Leaf]) -> bool:
    """Whether two runs have the same formats."""
    if not one and not other:
        return True
    return one.keys() == other.keys() and all(one[name].key == other[name].key for name in one)


def read_value(value: Any) -> Value:
    """A value as pycrdt gives it, with all that is in it."""
    match value:
        case Map():
            return _finished(Node("map", value, entries=_entries(value)))
        case Array():
            return _finished(Node("array", value, items=_items(value)))
        case Text():
            return _finished(Node("text", value, runs=read_runs(value)))
        case XmlElement():
            return _finished(
                Node(
                    "element",
                    value,
                    tag=value.tag or "",
                    entries=_attributes(value),
                    items=[read_value(child) for child in value.children],
                )
            )
        case XmlText():
            return _finished(Node("xmltext", value, entries=_attributes(value), runs=read_runs(value)))
        case XmlFragment():
            return _finished(Node("xml", value, items=[read_value(child) for child in value.children]))
        case _:
            return _leaf(value)


def identity(value: Value) -> Key | None:
    """What makes an item the same in two versions: the key of its ``id``, if a string or a number."""
    found: Value | None = None
    if isinstance(value, Node):
        if value.kind in {"map", "element"}:
            found = value.entries.get("id")
    elif isinstance(value.value, dict) and "id" in value.value:
        found = _leaf(value.value["id"])
    if isinstance(found, Leaf) and isinstance(found.value, str | int | float) and found.value is not True:
        return None if found.value is False else found.key
    return None


def id_of(value: Value) -> Any:
    """The ``id`` itself, of a value that has an identity."""
    if isinstance(value, Node):
        found = value.entries["id"]
        return found.value if isinstance(found, Leaf) else None
    return value.value["id"]


def _read_root(doc: Doc[Any], name: str) -> Node:
    """A root with its sequence and its keys: a name can hold both."""
    found = _root(doc, name)
    if isinstance(found, XmlFragment):
        array = doc.get(name, type=Array)
        children = list(found.children)
        if len(children) != len(array) or any(type(child) is XmlFragment for child in children):
            found = array  # what no fragment can hold
    node = Node(EMPTY if found is None else KINDS[type(found)], found)
    match found:
        case Text():
            node.runs = read_runs(found)
        case Array():
            node.items = _root_items(doc, name, found)
        case XmlFragment():
            node.items = [read_value(child) for child in found.children]
    node.entries = _entries(doc.get(name, type=Map))
    return _finished(node)


def _root_items(doc: Doc[Any], name: str, array: Array[Any]) -> list[Value]:
    length = len(array)
    if length >= _MANY_ITEMS:
        # Reading by index walks the array from its start each time; a text is read in one go, but shows only
        # the shared types in it.
        shared = [item for item, _ in doc.get(name, type=Text).diff() if isinstance(item, SHARED_TYPES)]
        if len(shared) == length:
            return [read_value(item) for item in shared]
    return _items(array)


def _items(array: Array[Any]) -> list[Value]:
    return [read_value(array[at]) for at in range(len(array))]


def _entries(entries: Map[Any]) -> dict[str, Value]:
    return {name: read_value(entries[name]) for name in sorted(entries.keys())}


def _attributes(node: XmlElement | XmlText) -> dict[str, Value]:
    found: Any = node.attributes
    return {name: read_value(value) for name, value in sorted(found, key=lambda pair: str(pair[0]))}


def _finished(node: Node) -> Node:
    parts = [_utf8(node.tag), _entries_key(node.entries)]
    parts.extend(item.key for item in node.items)
    if node.runs:
        parts.append(runs_key(node.runs))
    node.key = _key(b"Y" + node.kind.encode(), parts)
    return node


def _entries_key(entries: dict[str, Leaf] | dict[str, Value]) -> Key:
    if not entries:
        return b"{}"
    return _key(b"{", (part for name, value in entries.items() for part in (_utf8(name), value.key)))


def _leaf(value: Any) -> Leaf:
    return Leaf(value, _leaf_key(value))


def _leaf_key(value: Any) -> Key:
    match value:
        case None:
            return b"0"
        case bool():
            return b"T" if value else b"F"
        case str():
            return _key(b"s", [_utf8(value)])
        case int():
            return _key(b"n" if abs(value) <= SAFE_INTEGER_MAX else b"i", [str(value).encode()])
        case float():
            whole = value.is_integer() and abs(value) <= SAFE_INTEGER_MAX
            negative_zero = value == 0 and math.copysign(1, value) < 0
            return _key(b"n", [repr(int(value) if whole and not negative_zero else value).encode()])
        case bytes() | bytearray() | memoryview():
            return _key(b"b", [bytes(value)])
        case dict():
            parts = (part for name in sorted(value) for part in (_utf8(name), _leaf_key(value[name])))
            return _key(b"{", parts)
        case list() | tuple():
            return _key(b"[", [_leaf_key(item) for item in value])
        case Doc():
            return _key(b"d", [_utf8(value.guid)])
        case _:
            return b"?" + type(value).__name__.encode()


def _key(mark: bytes, parts: Iterable[bytes]) -> Key:
    """One key of many, hashed when it is long; the lengths tell ``["ab"]`` from ``["a", "b"]``."""
    whole = mark + b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return whole if len(whole) <= _LONG_KEY else b"#" + hashlib.blake2b(whole, digest_size=20).digest()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
