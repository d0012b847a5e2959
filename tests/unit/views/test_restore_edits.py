from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab_server.views.documents import document_json
from collab_server.views.pool import ViewPool
from collab_server.views.restore import restore
from tests.support.trips import random_item, random_trip, trip_item, trip_update


def document(update: bytes = b"\x00\x00", client_id: int = 1) -> Doc[Any]:
    doc: Doc[Any] = Doc(client_id=client_id)
    doc.apply_update(update)
    return doc


def shown(doc: Doc[Any] | bytes) -> bytes:
    return document_json(doc if isinstance(doc, bytes) else doc.get_update(), rich=True)


def restored(live: Doc[Any], target: bytes) -> tuple[Doc[Any], int]:
    """The live document after its restore, and the size of that."""
    change = restore(live.get_update(), target, client_id=77)
    assert change is not None
    after = document(live.get_update(), client_id=78)
    after.apply_update(change)
    return after, len(change)


def trip(seed: int = 1, client_id: int = 1) -> Doc[Any]:
    return document(trip_update(random_trip(seed)), client_id)


def test_nothing_is_made_where_nothing_differs() -> None:
    update = trip_update(random_trip(1))
    assert restore(update, update, client_id=77) is None


def test_a_client_id_that_wrote_into_the_document_is_refused() -> None:
    with pytest.raises(ValueError, match="has written"):
        restore(trip_update(random_trip(1), client_id=5), b"\x00\x00", client_id=5)


def test_bytes_that_are_no_update_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\w"):
        restore(b"\x01\x02\x03", b"\x00\x00", client_id=5)


def test_one_word_of_a_long_text_costs_a_few_bytes() -> None:
    words = "the ferry leaves at nine from the old harbour " * 2000
    doc = document()
    doc["notes"] = text = Text(words + "sunset" + words)
    target = doc.get_update()
    place = len(words)
    del text[place : place + 6]
    text.insert(place, "sunrise")
    after, size = restored(doc, target)
    assert shown(after) == shown(target)
    assert size < 40


def test_a_removed_and_an_edited_and_a_moved_item_come_back() -> None:
    doc = trip()
    target = doc.get_update()
    itinerary = doc.get("itinerary", type=Array)
    with doc.transaction():
        del itinerary[2]
        itinerary[0]["cost"] = 1.5
        moved = itinerary[5].to_py()
        del itinerary[5]
        itinerary.insert(1, trip_item(moved))
        itinerary.insert(4, trip_item(random_item(random.Random(3))))
        doc.get("budget", type=Map)["EUR"] = 3
        doc.get("comments", type=Array)[0]["replies"].append(Map({"id": "r", "content": Text("me too")}))
    after, size = restored(doc, target)
    assert shown(after) == shown(target)
    assert size < len(target) / 4


def test_what_others_write_into_items_that_stay_survives() -> None:
    doc = trip()
    target = doc.get_update()
    itinerary = doc.get("itinerary", type=Array)
    itinerary[0]["cost"] = 1.5
    del itinerary[3]
    live = doc.get_update()
    other = document(live, client_id=2)
    other.get("itinerary", type=Array)[0]["title"].insert(0, "NEW ")
    other.get("itinerary", type=Array)[7]["cost"] = 99
    other.get("itinerary", type=Array).insert(0, Map({"id": "mine"}))
    other.get("notes", type=Text).insert(0, "remember: ")
    change = restore(live, target, client_id=77)
    assert change is not None
    other.apply_update(change)
    items = other.get("itinerary", type=Array)
    before = document(target).get("itinerary", type=Array)
    assert [item["id"] for item in items] == ["mine", *(item["id"] for item in before)]
    assert str(items[1]["title"]).startswith("NEW ")
    assert items[1]["cost"] == before[0]["cost"]
    assert items[9]["cost"] == 99
    assert str(other.get("notes", type=Text)).startswith("remember: ")


def test_typing_beside_a_restored_word_survives() -> None:
    doc = document()
    doc["notes"] = text = Text("meet at the station at nine")
    target = doc.get_update()
    del text[12:19]
    text.insert(12, "harbour")
    live = doc.get_update()
    other = document(live, client_id=2)
    other.get("notes", type=Text).insert(27, " sharp")
    other.get("notes", type=Text).insert(0, "please ")
    change = restore(live, target, client_id=77)
    assert change is not None
    other.apply_update(change)
    assert str(other.get("notes", type=Text)) == "please meet at the station at nine sharp"


def test_a_root_that_the_version_did_not_have_is_emptied() -> None:
    doc = document()
    doc["notes"] = Text("kept")
    target = doc.get_update()
    doc["list"], doc["map"], doc["more"] = Array([1, Map()]), Map({"a": 1}), Text("gone")
    doc["xml"] = XmlFragment([XmlElement("p")])
    after, _ = restored(doc, target)
    assert (
        shown(after)
        == b'{"list":null,"map":null,"more":null,"notes":{"$text":[{"insert":"kept"}]},"xml":null}'
    )


KINDS: dict[str, Callable[[int], Any]] = {
    "text": lambda n: Text(f"words {n}"),
    "array": lambda n: Array([n, Map({"n": n})]),
    "map": lambda n: Map({"n": n, f"k{n}": 1}),
    "xml": lambda n: XmlFragment([XmlElement(f"h{n}"), XmlText("x")]),
    "nothing": lambda _: Array(),
}


@pytest.mark.parametrize("live", list(KINDS))
@pytest.mark.parametrize("wanted", list(KINDS))
def test_a_root_becomes_what_it_was_whatever_it_is_now(live: str, wanted: str) -> None:
    doc, target = document(), document(client_id=2)
    doc["root"], target["root"] = KINDS[live](1), KINDS[wanted](2)
    change = restore(doc.get_update(), target.get_update(), client_id=77)
    if change is not None:
        doc.apply_update(change)
    assert json.loads(shown(doc)).get("root") == json.loads(shown(target)).get("root")


def test_formats_come_back_without_a_character_written_anew() -> None:
    doc = document()
    doc["notes"] = text = Text("plain bold plain")
    text.format(6, 10, {"bold": True, "color": "red"})
    text.insert_embed(0, {"image": 1})
    target = doc.get_update()
    text.format(7, 11, {"bold": None, "color": "blue"})
    text.format(0, 3, {"em": True})
    change = restore(doc.get_update(), target, client_id=77)
    assert change is not None
    assert b"plain" not in change
    assert b"bold plain" not in change
    after, _ = restored(doc, target)
    assert shown(after) == shown(target)


def test_text_that_is_inserted_does_not_take_on_the_formats_around_it() -> None:
    doc = document()
    doc["notes"] = text = Text("bold")
    text.format(0, 4, {"bold": True})
    text.insert(2, "plain", {})
    target = doc.get_update()
    del text[2:7]
    after, _ = restored(doc, target)
    assert shown(after) == shown(target)


def test_letters_outside_of_ascii_keep_their_places() -> None:
    doc = document()
    doc["notes"] = text = Text("Zürich 東京 🏔️ ferry 👩‍👩‍👧 é")
    target = doc.get_update()
    place = len("Zürich 東京 🏔️ ".encode())
    del text[place : place + 5]
    text.insert(place, "train 🚆")
    text.insert(0, "→")
    after, size = restored(doc, target)
    assert shown(after) == shown(target)
    assert size < 60


def test_a_paragraph_that_was_edited_is_edited_back_in_place() -> None:
    doc = document()
    page: Any = XmlFragment()
    doc["page"] = page
    for line in ("the first day in town", "the second day at sea", "the third day at home"):
        page.children.append(XmlElement("p", {"class": "day"}, [XmlText(line)]))
    target = doc.get_update()
    page.children.insert(0, XmlElement("h1", {}, [XmlText("Days")]))
    page.children[2].children[0].insert(4, "very ")
    page.children[2].attributes["class"] = "new"
    live = doc.get_update()
    other = document(live, client_id=2)
    other.get("page", type=XmlFragment).children[2].children[0].insert(26, " again")
    change = restore(live, target, client_id=77)
    assert change is not None
    other.apply_update(change)
    assert str(other.get("page", type=XmlFragment)) == (
        '<p class="day">the first day in town</p><p class="day">the second day at sea again</p>'
        '<p class="day">the third day at home</p>'
    )


def test_items_without_an_id_are_edited_in_place_where_they_are_alike() -> None:
    doc = document()
    doc["list"] = items = Array([Text("walk to the harbour"), Text("dinner at eight")])
    target = doc.get_update()
    items.insert(0, Text("something else entirely"))
    items[2].insert(0, "early ")
    live = doc.get_update()
    other = document(live, client_id=2)
    other.get("list", type=Array)[2].insert(21, " sharp")
    change = restore(live, target, client_id=77)
    assert change is not None
    other.apply_update(change)
    assert [str(item) for item in other.get("list", type=Array)] == [
        "walk to the harbour",
        "dinner at eight sharp",
    ]


def test_values_that_are_not_json_come_back_as_they_were() -> None:
    doc = document()
    entries: Map[Any] = Map()
    doc["map"] = entries
    with doc.transaction():
        entries["bytes"], entries["big"], entries["nan"] = b"\x00\xff", 2**60, float("nan")
        entries["deep"] = {"list": [b"\x01", {"none": None}]}
        entries["sub"] = Doc(guid="sub-1")
    target = doc.get_update()
    with doc.transaction():
        for key in ("bytes", "big", "nan", "deep", "sub"):
            entries[key] = 1
    after, _ = restored(doc, target)
    assert shown(after) == shown(target)


def test_items_with_one_id_twice_are_restored_too() -> None:
    doc = document()
    items: Array[Any]
    doc["list"] = items = Array([Map({"id": 1, "n": 1}), Map({"id": 1, "n": 2}), Map({"id": True})])
    target = doc.get_update()
    items[1]["n"] = 3
    del items[0]
    after, _ = restored(doc, target)
    assert shown(after) == shown(target)


def test_a_name_that_holds_a_sequence_and_keys_is_restored_in_both() -> None:
    doc = document()
    doc.get("both", type=Text).insert(0, "text")
    doc.get("both", type=Map)["key"] = 1
    target = doc.get_update()
    doc.get("both", type=Text).insert(0, "more ")
    del doc.get("both", type=Map)["key"]
    after, _ = restored(doc, target)
    assert str(after.get("both", type=Text)) == "text"
    assert after.get("both", type=Map)["key"] == 1


def test_an_xml_element_inside_of_a_map_comes_back_in_a_fragment() -> None:
    # A nested XmlElement <p> under the key k of the map m: only Yjs clients can make one.
    target = bytes([1, 1, 1, 0, 0x27, 1, 1]) + b"m" + b"\x01k\x03\x01p\x00"
    after, _ = restored(document(), target)
    assert str(after.get("m", type=Map)["k"]) == "<p></p>"


async def test_a_document_nested_as_deep_as_allowed_is_restored() -> None:
    doc = document()
    inner: Array[Any] = Array([])
    doc["a"] = inner
    for _ in range(499):
        inner.append(Array([]))
        inner = inner[0]
    target = doc.get_update()
    inner.append("bottom")
    pool = ViewPool(1, timeout_s=60)
    try:
        change = await pool.run(restore, doc.get_update(), target, 77)
        rebuilt = await pool.run(restore, b"\x00\x00", target, 77)
    finally:
        await pool.close()
    assert change is not None
    assert len(change) < 20
    assert rebuilt is not None
