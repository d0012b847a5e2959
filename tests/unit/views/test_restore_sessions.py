from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.views import textdiff
from collab_server.views.documents import document_json
from collab_server.views.restore import restore
from tests.support.ydocs import recorded, typed


def state(updates: list[bytes]) -> bytes:
    doc: Doc[Any] = Doc(client_id=1)
    for update in updates:
        doc.apply_update(update)
    return doc.get_update()


def after(live: bytes, change: bytes | None) -> bytes:
    return state([live] if change is None else [live, change])


def text_update(content: str, client_id: int = 1) -> bytes:
    return Doc[Any]({"notes": Text(content)}, client_id=client_id).get_update()


@pytest.mark.parametrize("part", [0.25, 0.5, 0.9])
def test_a_recorded_session_is_restored_to_a_part_of_its_history_and_back(part: float) -> None:
    updates = recorded("clownschool") or typed(1, edits=2000)
    target, live = state(updates[: int(len(updates) * part)]), state(updates)
    there = after(live, restore(live, target, client_id=5))
    assert document_json(there) == document_json(target)
    change = restore(there, live, client_id=6)
    assert document_json(after(there, change)) == document_json(live)
    assert change is not None
    assert len(change) < 2 * len(document_json(live))


def test_many_words_changed_all_over_a_long_text_cost_what_they_are() -> None:
    dice = random.Random(1)
    vocabulary = ["".join(dice.choices("abcdefghijklmnop", k=dice.randrange(2, 9))) for _ in range(500)]
    words = [dice.choice(vocabulary) for _ in range(40_000)]
    target = text_update(" ".join(words))
    for at in dice.sample(range(len(words)), 500):
        words[at] = "changed"
    live = text_update(" ".join(words), client_id=2)
    change = restore(live, target, client_id=5)
    assert change is not None
    assert len(change) < 500 * 30
    assert document_json(after(live, change)) == document_json(target)


def test_more_changes_than_are_made_one_by_one_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textdiff, "HUNKS_MAX", 10)
    words = [f"word{at}" for at in range(300)]
    target = text_update(" ".join(words))
    live = text_update(" ".join("new" if at % 7 == 0 else word for at, word in enumerate(words)))
    change = restore(live, target, client_id=5)
    assert change is not None
    assert b"word1 word2 " in change
    assert document_json(after(live, change)) == document_json(target)


def test_more_different_embeds_than_there_are_halves_of_pairs() -> None:
    doc: Doc[Any] = Doc(client_id=1)
    doc["notes"] = text = Text("\ue000 and 🏔")
    with doc.transaction():
        for number in range(3000):
            text.insert_embed(0, {"image": number})
    target = doc.get_update()
    with doc.transaction():
        del text[10:13]
        del text[2500:2502]
    live = doc.get_update()
    change = restore(live, target, client_id=5)
    assert change is not None
    assert len(change) < 200
    assert document_json(after(live, change), rich=True) == document_json(target, rich=True)
