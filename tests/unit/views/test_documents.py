from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab_server.views.documents import document_json, document_outline
from collab_server.views.pool import ViewPool


def update_of(**roots: Any) -> bytes:
    doc: Doc[Any] = Doc()
    for name, root in roots.items():
        doc[name] = root
    return doc.get_update()


def shown(update: bytes, *, rich: bool = False) -> Any:
    return json.loads(document_json(update, rich))


def any_update(encoded: bytes) -> bytes:
    """An update that sets ``m.k`` to one lib0 Any value."""
    return bytes([1, 1, 1, 0, 8 | 0x20, 1, 1]) + b"m" + b"\x01k" + b"\x01" + encoded + b"\x00"


def test_a_trip_is_shown_as_yjs_own_json_shows_it() -> None:
    item = Map({"id": "i1", "day": 1, "title": Text("Louvre"), "cost": 17.5})
    update = update_of(title=Text("Paris"), meta=Map({"version": 3}), itinerary=Array([item]), budget=Map())
    assert shown(update) == {
        "title": "Paris",
        "meta": {"version": 3},
        "itinerary": [{"id": "i1", "day": 1, "title": "Louvre", "cost": 17.5}],
    }


def test_an_empty_document_is_an_empty_object() -> None:
    assert shown(b"\x00\x00") == {}


def test_a_root_that_holds_nothing_any_more_is_null() -> None:
    doc: Doc[Any] = Doc()
    doc["notes"] = text = Text("gone")
    text.clear()
    assert shown(doc.get_update()) == {"notes": None}
    assert document_outline(doc.get_update()) == [("notes", "empty", 0)]


def test_whole_numbers_look_as_in_javascript() -> None:
    assert document_json(update_of(m=Map({"n": 2.0}))) == b'{"m":{"n":2}}'


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (b"\x7b" + struct.pack(">d", float("nan")), {"$number": "NaN"}),
        (b"\x7b" + struct.pack(">d", float("-inf")), {"$number": "-Infinity"}),
        (b"\x7a" + struct.pack(">q", 2**62), {"$bigint": str(2**62)}),
        (b"\x74\x02\x00\xff", {"$binary": "AP8="}),
        (b"\x7f", None),
        (b"\x76\x01\x07$binary\x77\x01x", {"$$binary": "x"}),
        (b"\x76\x01\x04$ref\x77\x01x", {"$ref": "x"}),
    ],
)
def test_what_json_has_no_word_for_is_marked(encoded: bytes, expected: object) -> None:
    assert shown(any_update(encoded)) == {"m": {"k": expected}}


def test_a_subdocument_is_its_guid() -> None:
    sub: Doc[Any] = Doc()
    doc: Doc[Any] = Doc()
    root: Map[Any] = Map()
    doc["m"] = root
    root["sub"] = sub
    assert shown(doc.get_update()) == {"m": {"sub": {"$doc": sub.guid}}}


def test_rich_shows_formats_embeds_and_markup() -> None:
    doc: Doc[Any] = Doc()
    doc["t"] = text = Text("plain")
    text.insert(5, "bold", {"b": True})
    text.insert_embed(0, {"img": 1})
    doc["x"] = fragment = XmlFragment()
    paragraph = fragment.children.append(XmlElement("p", {"id": "1"}))
    paragraph.children.append(XmlText("hi"))
    assert shown(doc.get_update(), rich=True) == {
        "t": {
            "$text": [
                {"insert": {"img": 1}},
                {"insert": "plain"},
                {"insert": "bold", "attributes": {"b": True}},
            ]
        },
        "x": {"$xml": [{"tag": "p", "attributes": {"id": "1"}, "children": [{"text": [{"insert": "hi"}]}]}]},
    }
    assert shown(doc.get_update()) == {"t": "plainbold", "x": '<p id="1">hi</p>'}


def test_the_kind_of_each_root_is_told_from_what_it_holds() -> None:
    doc: Doc[Any] = Doc()
    doc["array"] = Array([1, Map({"a": 1})])
    doc["embeds"] = embeds = Text()
    embeds.insert_embed(0, {"img": 1})
    doc["map"] = Map({"k": 1})
    doc["nested"] = Array([Text("inner"), Array([1])])
    doc["text"] = Text("héé")
    doc["xml"] = XmlFragment([XmlElement("p")])
    assert document_outline(doc.get_update()) == [
        ("array", "array", 2),
        ("embeds", "text", 0),
        ("map", "map", 1),
        ("nested", "array", 2),
        ("text", "text", 3),
        ("xml", "xml", 1),
    ]


def deeply_nested(depth: int) -> bytes:
    doc: Doc[Any] = Doc()
    inner: Array[Any] = Array([])
    doc["a"] = inner
    for _ in range(depth - 1):
        inner.append(Array([]))
        inner = inner[0]
    inner.append("bottom")
    return doc.get_update()


async def test_a_document_nested_as_deep_as_allowed_is_shown() -> None:
    pool = ViewPool(1, timeout_s=60)
    try:
        text = await pool.run(document_json, deeply_nested(500))
        assert text == b'{"a":' + b"[" * 500 + b'"bottom"' + b"]" * 500 + b"}"
    finally:
        await pool.close()


async def test_a_document_that_kills_the_native_code_kills_its_worker_only() -> None:
    pool = ViewPool(1, timeout_s=60)
    try:
        nested = b"\x75\x01" * 1_000_000 + b"\x7e"
        with pytest.raises(Exception, match=r"died|memory|Error|longer"):
            await pool.run(document_json, any_update(nested))
        assert await pool.run(document_json, b"\x00\x00") == b"{}"
    finally:
        await pool.close()
