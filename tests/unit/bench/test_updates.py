"""The walk over updates and the hand-written edits, against pycrdt."""

from __future__ import annotations

import random

import pycrdt
import pytest

from bench.generator.edits import Typist, seed_updates
from bench.generator.ledger import read_state_vector
from bench.generator.updates import walk
from tests.support import yupdate
from tests.support.random_documents import random_document, random_edits


def content(updates: list[bytes]) -> str:
    doc: pycrdt.Doc[pycrdt.Text] = pycrdt.Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("notes", type=pycrdt.Text))


@pytest.mark.parametrize("seed", range(20))
def test_the_walk_sees_the_clocks_that_a_document_has(seed: int) -> None:
    update = random_edits(random_document(seed), seed + 1, client_id=2)
    ends: dict[int, int] = {}
    for client, begin, end in walk(update).ranges:
        assert begin == ends.get(client, 0)
        ends[client] = end
    assert ends == dict(read_state_vector(pycrdt.get_state(update)))


def test_every_kind_of_content_is_passed_over() -> None:
    structs = [
        yupdate.json_item("[1]"),
        yupdate.binary_item(b"12345"),
        yupdate.string("Zürich 🌅"),
        yupdate.embed_item("{}"),
        yupdate.format_item("true"),
        yupdate.type_item(yupdate.XML_ELEMENT, root="page"),
        yupdate.type_item(yupdate.XML_HOOK, root="page"),
        yupdate.any_item(yupdate.nested_any_objects(3)),
        yupdate.item(9, b"\x04guid\x76\x01\x01k\x7d\xc1\x02", root="itinerary"),
        yupdate.item(1, b"\x05", root="notes"),
        b"\x00\x03",
    ]
    update = yupdate.update([(7, 10, structs)], yupdate.delete_set([(7, [(10, 2), (20, 1)])]))
    walked = walk(update)
    assert walked.ranges == [(7, 10, 10 + 1 + 1 + 9 + 1 + 1 + 1 + 1 + 1 + 1 + 5 + 3)]
    assert walked.deletes == [(7, 10, 2), (7, 20, 1)]


def test_a_skip_makes_two_ranges() -> None:
    update = yupdate.update([(7, 0, [yupdate.string("ab"), b"\x0a\x05", yupdate.string("c")])])
    assert walk(update).ranges == [(7, 0, 2), (7, 7, 8)]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_cut_update_is_no_update(cut: int) -> None:
    update = Typist(77, "notes", random.Random(1)).insert(5).update
    with pytest.raises((IndexError, ValueError, Exception)):
        walk(update[:-cut])


def test_a_typist_writes_text_that_yjs_reads_and_takes_letters_back() -> None:
    dice = random.Random(5)
    typist = Typist(4_123_456_789, "notes", dice)
    updates, expected, edits = [], "", 0
    for n in range(300):
        deleting = dice.random() < 0.3
        edit = (typist.backspace() if deleting else None) or typist.insert(1 + n % 3)
        updates.append(edit.update)
        walked = walk(edit.update)
        if edit.deleted:
            expected = expected[:-1]
            assert (walked.ranges, walked.deletes) == ([], [(*edit.deleted, 1)])
        else:
            expected += pycrdt_text(edit.update)
            assert walked.ranges == [(typist.client, edit.end - 1 - n % 3, edit.end)]
            edits += 1
    assert edits > 150
    assert content(updates) == expected


def pycrdt_text(update: bytes) -> str:
    """The text that an insert carries: what stands before the empty delete set."""
    size = next(n for n in range(1, 4) if update[-n - 2] == n)
    return update[-size - 1 : -1].decode()


def test_texts_of_two_typists_stay_apart_whatever_the_order() -> None:
    dice = random.Random(5)
    one, other = Typist(1, "notes", dice), Typist(2, "notes", dice)
    ones = [one.insert(3).update for _ in range(20)]
    others = [other.insert(3).update for _ in range(20)]
    mixed = [update for pair in zip(ones, others, strict=True) for update in pair]
    assert content(mixed) == content(others + ones)
    assert content(ones) in content(mixed)
    assert content(others) in content(mixed)


def test_a_long_insert_is_as_long_as_it_says() -> None:
    typist = Typist(1, "notes", random.Random(1))
    assert len(content([typist.insert(50_000).update])) == 50_000


@pytest.mark.parametrize("size", [1, 100, 30_000])
def test_a_filled_document_has_its_size_in_pieces(size: int) -> None:
    updates = seed_updates(4_000_000_000, "notes", size, 40, 4096)
    assert len(content(updates)) == size
    assert len(updates) >= size // 4096
    merged = pycrdt.merge_updates(*updates) if len(updates) > 1 else updates[0]
    assert len(merged) > size  # nothing could be put together
