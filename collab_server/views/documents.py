r"""A document as JSON: pure functions, made to run in a worker process.

The shape is that of Yjs' own ``Doc.toJSON()``: an object with one entry per root type; a Text is its plain string, XML its
markup. What JSON has no word for is an object with one reserved key:

    bytes            {"$binary": "base64"}
    subdocument      {"$doc": "guid"}
    NaN, Infinity    {"$number": "NaN" | "Infinity" | "-Infinity"}
    integers that a JSON reader would round (BigInt past 2**53)    {"$bigint": "digits"}

A document's own object that looks like one of these gets one more ``$`` in front of its key. ``rich`` shows each Text as
``{"$text": [delta]}`` and XML as a tree, ``{"$xml": [...]}``, so that formats and embeds are seen.

What a root type *is* is not in an update: a client names it when it asks for it. It is told by what it holds:
characters make a Text, and so do embeds; a sequence that begins with an XML node is a fragment, any other an Array; keys
alone make a Map. A name that holds both a sequence and keys is shown as its sequence. One that holds nothing any more is ``null``.

Lost by pycrdt before we see it: ``undefined`` shows as null, -0 as 0, a small BigInt as a number, an XmlHook as null.
"""  # noqa: E501 - two lines of prose are better than three

from __future__ import annotations

import base64
import json
import math
from typing import Any, cast

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

SAFE_INTEGER_MAX = 2**53 - 1
RESERVED_KEYS = frozenset({"$binary", "$doc", "$number", "$bigint", "$text", "$xml"})

SHARED_TYPES = (Map, Array, Text, XmlElement, XmlText, XmlFragment)
EMPTY = "empty"
KINDS: dict[Any, str] = {Map: "map", Text: "text", Array: "array", XmlFragment: "xml"}


def document_json(update: bytes, rich: bool = False) -> bytes:
    """The whole document as one line of JSON in UTF-8."""
    doc = _loaded(update)
    value = {
        name: _value(root, rich) if (root := _root(doc, name)) is not None else None
        for name in sorted(doc.keys())
    }
    # Lone halves of a surrogate pair have no UTF-8 form; JSON can still escape them.
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def document_outline(update: bytes) -> list[tuple[str, str, int]]:
    """Name, kind (``map``, ``text``, ``array``, ``xml``, ``empty``) and length of each root type, by name."""
    doc = _loaded(update)
    outline = []
    for name in sorted(doc.keys()):
        root = _root(doc, name)
        if root is None:
            outline.append((name, EMPTY, 0))
            continue
        length = len(root.children) if isinstance(root, XmlFragment) else len(root)
        if isinstance(root, Text):
            length = len(str(root))
        outline.append((name, KINDS[type(root)], length))
    return outline


def document_state_vector(update: bytes) -> bytes:
    """The document's state vector, encoded as Yjs does."""
    return _loaded(update).get_state()


def _loaded(update: bytes) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return doc


def _root(doc: Doc[Any], name: str) -> Any:
    """The root as what it seems to be, or None if it holds nothing."""
    text = doc.get(name, type=Text)
    if str(text):
        return text
    array = doc.get(name, type=Array)
    if len(array):
        first = array[0]
        if isinstance(first, (XmlElement, XmlText, XmlFragment)):
            return doc.get(name, type=XmlFragment)
        return text if any(not isinstance(part, SHARED_TYPES) for part, _ in text.diff()) else array
    entries = doc.get(name, type=Map)
    return entries if len(entries) else None


def _value(value: Any, rich: bool) -> Any:
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= SAFE_INTEGER_MAX else {"$bigint": str(value)}
        case float():
            return _number(value)
        case bytes() | bytearray() | memoryview():
            return {"$binary": base64.b64encode(value).decode("ascii")}
        case dict():
            return _object({str(key): _value(item, rich) for key, item in value.items()})
        case Map():
            return _object({key: _value(value[key], rich) for key in sorted(value.keys())})
        case list() | tuple():
            return [_value(item, rich) for item in value]
        case Array():
            return [_value(value[at], rich) for at in range(len(value))]
        case Text():
            return {"$text": _delta(value)} if rich else str(value)
        case XmlFragment() | XmlElement() | XmlText():
            return {"$xml": _xml(value)} if rich else str(value)
        case Doc():
            return {"$doc": value.guid}
        case _:
            return None


def _number(value: float) -> Any:
    if math.isnan(value):
        return {"$number": "NaN"}
    if math.isinf(value):
        return {"$number": "Infinity" if value > 0 else "-Infinity"}
    # JavaScript has one kind of number: 1.0 is written as 1. A negative zero keeps its sign.
    whole = value.is_integer() and abs(value) <= SAFE_INTEGER_MAX and (value or math.copysign(1, value) > 0)
    return int(value) if whole else value


def _object(entries: dict[str, Any]) -> dict[str, Any]:
    if len(entries) == 1:
        ((key, item),) = entries.items()
        if key.startswith("$") and "$" + key.lstrip("$") in RESERVED_KEYS:
            return {"$" + key: item}
    return entries


def _delta(text: Text | XmlText) -> list[dict[str, Any]]:
    delta: list[dict[str, Any]] = []
    for insert, attributes in text.diff():
        part: dict[str, Any] = {"insert": insert if isinstance(insert, str) else _value(insert, rich=True)}
        if attributes:
            part["attributes"] = {key: _value(attributes[key], rich=True) for key in sorted(attributes)}
        delta.append(part)
    return delta


def _xml(node: XmlFragment | XmlElement | XmlText) -> Any:
    if isinstance(node, XmlText):
        return {"text": _delta(node)}
    children = [_xml(child) for child in node.children]
    if isinstance(node, XmlElement):
        attributes = {key: _value(item, rich=True) for key, item in sorted(cast(Any, node.attributes))}
        return {"tag": node.tag, "attributes": attributes, "children": children}
    return children
