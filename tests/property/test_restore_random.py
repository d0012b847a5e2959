from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc

from collab_server.views.differences import difference
from collab_server.views.documents import document_json
from collab_server.views.restore import restore
from collab_server.views.tree import Key, read_document
from tests.support.random_documents import random_document, random_edits
from tests.support.trips import edited_trip, random_trip, trip_update

SEEDS = st.integers(0, 2**32 - 1)
LENIENT = settings(max_examples=60, deadline=None)


def content(update: bytes) -> dict[str, Key]:
    """The roots that hold something, as keys that are equal for equal content."""
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return {name: root.key for name, root in read_document(doc).items() if root.kind != "empty"}


def merged(*updates: bytes | None) -> bytes:
    doc: Doc[Any] = Doc(client_id=9)
    for update in updates:
        if update is not None:
            doc.apply_update(update)
    return doc.get_update()


@LENIENT
@given(seed=SEEDS)
def test_a_restore_gives_the_content_of_an_earlier_state(seed: int) -> None:
    target = random_document(seed)
    live = random_edits(target, seed + 1, client_id=2, edits_count=15)
    restored = merged(live, restore(live, target, client_id=3))
    assert content(restored) == content(target)
    assert restore(restored, target, client_id=4) is None


@LENIENT
@given(seed=SEEDS)
def test_a_restore_gives_the_content_of_a_document_of_other_origin(seed: int) -> None:
    target, live = random_document(seed, client_id=1), random_document(seed + 1, client_id=2)
    assert content(merged(live, restore(live, target, client_id=3))) == content(target)


@LENIENT
@given(seed=SEEDS)
def test_a_restore_is_undone_by_another_restore(seed: int) -> None:
    target = random_document(seed)
    live = random_edits(target, seed + 1, client_id=2)
    there = merged(live, restore(live, target, client_id=3))
    back = merged(there, restore(there, live, client_id=4))
    assert content(back) == content(live)


@LENIENT
@given(seed=SEEDS)
def test_a_restore_and_edits_at_the_same_time_converge_in_any_order(seed: int) -> None:
    target = random_document(seed)
    live = random_edits(target, seed + 1, client_id=2)
    change = restore(live, target, client_id=3)
    meanwhile = random_edits(live, seed + 2, client_id=4)
    assert content(merged(live, change, meanwhile)) == content(merged(live, meanwhile, change))


@LENIENT
@given(seed=SEEDS)
def test_nothing_differs_between_a_document_and_itself_and_no_restore_is_made(seed: int) -> None:
    update = random_document(seed)
    assert difference(update, merged(update))["roots"] == []
    assert restore(update, merged(update), client_id=3) is None


@LENIENT
@given(seed=SEEDS)
def test_a_difference_names_the_roots_whose_content_differs(seed: int) -> None:
    old = random_document(seed)
    new = random_edits(old, seed + 1, client_id=2, edits_count=4)
    before, after = content(old), content(new)
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert [entry["path"] for entry in difference(old, new)["roots"]] == [[name] for name in differing]


@LENIENT
@given(seed=SEEDS, edits_count=st.integers(1, 30))
def test_any_trip_is_restored_to_what_it_was(seed: int, edits_count: int) -> None:
    target = trip_update(random_trip(seed))
    live = edited_trip(target, seed + 1, client_id=2, edits_count=edits_count)
    restored = merged(live, restore(live, target, client_id=3))
    assert document_json(restored, rich=True) == document_json(target, rich=True)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_restore_gives_the_same_bytes(seed: int) -> None:
    target = trip_update(random_trip(seed))
    live = edited_trip(target, seed, client_id=2)
    assert restore(live, target, client_id=3) == restore(live, target, client_id=3)
