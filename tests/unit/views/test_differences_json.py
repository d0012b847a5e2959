from __future__ import annotations

import json
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab_server.views.differences import DifferenceLimits, difference
from collab_server.views.pool import ViewPool
from tests.support.trips import edited_trip, random_trip, trip_item, trip_update


def versions(root: Any, change: Any, limits: DifferenceLimits | None = None) -> dict[str, Any]:
    """The difference that ``change`` makes to the root ``r``."""
    doc: Doc[Any] = Doc(client_id=1)
    doc["r"] = root
    old = doc.get_update()
    after: Doc[Any] = Doc(client_id=2)
    after.apply_update(old)
    change(after.get("r", type=type(root)))
    return difference(old, after.get_update(), limits=limits or DifferenceLimits())


def only(found: dict[str, Any]) -> dict[str, Any]:
    (root,) = found["roots"]
    return root  # type: ignore[no-any-return]


def test_equal_versions_have_an_empty_difference() -> None:
    update = trip_update(random_trip(1))
    assert difference(update, update, ["ann", "bob", "ann"]) == {
        "authors": ["ann", "bob"],
        "clients": [],
        "counts": dict.fromkeys(
            ("added", "removed", "moved", "changed", "inserted", "deleted", "formatted"), 0
        ),
        "roots": [],
        "truncated": False,
    }


def test_clients_are_named_with_how_much_they_inserted() -> None:
    found = versions(Text("abc"), lambda text: text.insert(0, "xy"))
    assert found["clients"] == [{"client": 2, "inserted": 2}]


def test_words_that_changed_stand_between_words_that_stayed() -> None:
    def change(text: Text) -> None:
        del text[7:12]
        text.insert(7, "train 🚆", {"bold": True})

    root = only(versions(Text("take a ferry home"), change))
    assert root["kind"] == "text"
    assert root["path"] == ["r"]
    assert (root["inserted"], root["deleted"], root["formatted"]) == (8, 5, 0)
    assert [(segment["op"], segment["text"]) for segment in root["segments"]] == [
        ("retain", "take a "),
        ("delete", "ferry"),
        ("insert", "train 🚆"),
        ("retain", " home"),
    ]


def test_a_changed_format_is_told_with_before_and_after() -> None:
    root = only(versions(Text("plain bold"), lambda text: text.format(6, 10, {"bold": True})))
    assert root["formatted"] == 4
    assert root["segments"] == [
        {"op": "retain", "length": 6, "text": "plain "},
        {
            "op": "retain",
            "length": 4,
            "text": "bold",
            "attributes": {"bold": {"before": None, "after": True}},
        },
    ]


def test_an_embed_is_an_insert_of_its_value() -> None:
    root = only(versions(Text("ab"), lambda text: text.insert_embed(1, {"image": 1})))
    assert {"op": "insert", "length": 1, "embed": {"image": 1}} in root["segments"]


def test_keys_are_added_removed_and_changed() -> None:
    def change(entries: Map[Any]) -> None:
        entries["new"], entries["cost"] = [1, 2], 20
        del entries["old"]

    found = versions(Map({"cost": 10, "old": "x", "same": True}), change)
    assert only(found)["changes"] == [
        {"change": "changed", "path": ["r", "cost"], "kind": "value", "before": 10, "after": 20},
        {"change": "added", "path": ["r", "new"], "kind": "value", "after": [1, 2]},
        {"change": "removed", "path": ["r", "old"], "kind": "value", "before": "x"},
    ]
    assert found["counts"] | {"added": 1, "removed": 1, "changed": 1} == found["counts"]


def test_items_are_known_by_their_id() -> None:
    items = [{"id": name, "title": f"the {name}"} for name in "abcd"]

    def change(array: Array[Any]) -> None:
        array[2]["title"].insert(0, "see ")
        del array[0]
        array.insert(3, trip_item({"id": "e"}))
        moved = array[0].to_py()
        del array[0]
        array.insert(3, trip_item(moved | {"title": "now the b"}))

    found = versions(Array([trip_item(item) for item in items]), change)
    changes = [
        (entry["change"], entry["path"][1:], entry.get("index_before"), entry.get("index"))
        for entry in only(found)["changes"]
    ]
    assert changes == [
        ("removed", [{"id": "a"}], 0, None),
        ("changed", [{"id": "c"}], 2, 0),
        ("added", [{"id": "e"}], None, 2),
        ("moved", [{"id": "b"}], 1, 3),
    ]
    moved = only(found)["changes"][3]["changes"]
    assert moved[0]["path"] == ["r", {"id": "b"}, "title"]
    assert found["counts"] == {
        "added": 1, "removed": 1, "moved": 1, "changed": 2, "inserted": 8, "deleted": 0, "formatted": 0
    }  # fmt: skip


def test_plain_items_are_compared_in_order() -> None:
    def change(array: Array[Any]) -> None:
        del array[1]
        array.insert(1, 20)
        array.append("end")

    assert [
        (entry["change"], entry["path"], entry.get("before"), entry.get("after"))
        for entry in only(versions(Array([1, 2, 3]), change))["changes"]
    ] == [("changed", ["r", 1], 2, 20), ("added", ["r", 3], None, "end")]


def test_elements_are_matched_by_tag_and_likeness() -> None:
    def change(page: Any) -> None:
        page.children.insert(0, XmlElement("h1", {}, [XmlText("Days")]))
        page.children[2].children[0].insert(4, "very ")
        page.children[2].attributes["class"] = "long"

    lines = ("the first day in town", "the second day at sea")
    page = XmlFragment([XmlElement("p", {}, [XmlText(line)]) for line in lines])
    added, changed = only(versions(page, change))["changes"]
    assert (added["change"], added["path"], added["kind"], added["tag"]) == (
        "added",
        ["r", 0],
        "element",
        "h1",
    )
    assert added["after"] == "<h1>Days</h1>"
    assert (changed["path"], changed["tag"], changed["index_before"]) == (["r", 2], "p", 1)
    assert [entry["path"] for entry in changed["changes"]] == [["r", 2, {"attribute": "class"}], ["r", 2, 0]]


def test_a_value_whose_kind_changed_says_both_kinds() -> None:
    def change(entries: Map[Any]) -> None:
        entries["title"] = Text("now shared")

    (entry,) = only(versions(Map({"title": "plain"}), change))["changes"]
    assert entry == {
        "change": "changed",
        "path": ["r", "title"],
        "kind": "text",
        "before": "plain",
        "after": "now shared",
        "kind_before": "value",
    }


def test_roots_come_and_go_and_change_their_kind() -> None:
    old: Doc[Any] = Doc({"a": Text("x"), "b": Text("y")}, client_id=1)
    new: Doc[Any] = Doc({"b": Map({"k": 1}), "c": Array([1])}, client_id=2)
    found = difference(old.get_update(), new.get_update())
    assert [(e["path"], e["change"], e["kind"], e.get("kind_before")) for e in found["roots"]] == [
        (["a"], "removed", "text", None),
        (["b"], "changed", "map", "text"),
        (["c"], "added", "array", None),
    ]


def test_what_is_long_is_cut_and_said_to_be() -> None:
    limits = DifferenceLimits(value_characters_max=20, context_characters_max=10)
    found = versions(
        Map({"k": 1}), lambda entries: entries.update({"a": "x" * 100, "b": list(range(100))}), limits
    )
    assert found["truncated"]
    first, second = only(found)["changes"]
    assert first["after"] == "x" * 20 + "…"
    assert first["truncated"]
    assert len(second["after"]) < 20
    text = only(versions(Text("y" * 50), lambda text: text.insert(50, "z"), limits))
    assert text["segments"][0]["text"] == "yyyyy…yyyyy"
    assert text["segments"][0]["length"] == 50


def test_changes_past_the_limit_are_counted_but_not_listed() -> None:
    found = versions(
        Array(["first"]), lambda array: array.extend(list(range(50))), DifferenceLimits(entries_max=10)
    )
    assert len(only(found)["changes"]) < 11
    assert found["counts"]["added"] == 50
    assert found["truncated"]


def test_the_whole_answer_is_bounded_however_long_the_names_are() -> None:
    def change(entries: Map[Any]) -> None:
        inner: Array[Any] = Array()
        entries["k" * 5000] = inner
        inner.extend(["v" * 5000] * 500)
        entries["t" * 5000] = Text("x" * 5000)
        for at in range(500):
            entries[f"{at}" * 1000] = "y" * 3000

    limits = DifferenceLimits(characters_max=50_000)
    found = versions(Map({"k": 1}), change, limits)
    assert found["truncated"]
    assert found["counts"]["added"] == 502
    assert len(json.dumps(found)) < 200_000


def test_an_id_that_is_no_finite_number_is_shown_as_json_can() -> None:
    found = versions(Array([Map({"id": float("nan"), "n": 1})]), lambda array: array[0].update({"n": 2}))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_many_segments_are_cut_but_counted() -> None:
    def change(text: Text) -> None:
        for at in range(20, -1, -5):
            text.insert(at, "new ")

    found = versions(Text("one  two  three four five  six"), change, DifferenceLimits(segments_max=3))
    assert len(only(found)["segments"]) == 3
    assert only(found)["inserted"] == 20
    assert found["truncated"]


@pytest.mark.parametrize("seed", range(10))
async def test_a_difference_of_trips_is_json_and_comes_out_of_a_worker(seed: int) -> None:
    old = trip_update(random_trip(seed))
    new = edited_trip(old, seed, client_id=2, edits_count=20)
    found = difference(old, new, ["ann"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    if seed == 0:
        pool = ViewPool(1, timeout_s=60)
        try:
            assert await pool.run(difference, old, new, ["ann"]) == found
        finally:
            await pool.close()
