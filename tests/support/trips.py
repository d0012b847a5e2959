"""Trips: the document that the rooms hold, from JSON-able data; and random trips with random edits to them.

Everything is decided by the seed and the client id, so that a failing test can be run again.
"""

from __future__ import annotations

import random
import string
from typing import Any

from pycrdt import Array, Doc, Map, Text

TEXT_ROOTS = ("title", "description", "notes")
MAP_ROOTS = ("meta", "budget")
ARRAY_ROOTS = ("collaborators", "itinerary", "attachments", "comments")
_TEXT_FIELDS = {"title", "notes", "content"}
_TYPES = ["hotel", "attraction", "restaurant", "transport", "free"]
_WORDS = [
    *(
        "walk",
        "museum",
        "ferry",
        "Zürich",
        "dinner at eight",
        "tickets",
        "東京",
        "sunset 🌅",
        "near the station",
    ),
    *("bring cash", "closed on Mondays", "ask for a room with a view", "café", "the old town", "train 9:41"),
]


def trip_update(trip: dict[str, Any], client_id: int = 1) -> bytes:
    """The update of a document that holds a trip, made by one client.

    ``title`` and the like are strings here and become Y.Text, in the items too; objects become Y.Map.
    """
    doc: Doc[Any] = Doc(client_id=client_id)
    with doc.transaction():
        for name, value in trip.items():
            doc[name] = Text(value) if name in TEXT_ROOTS else _shared(value)
    return doc.get_update()


def trip_item(item: dict[str, Any]) -> Map[Any]:
    """An item or a comment as the shared type that the clients make of it."""
    return Map({key: Text(value) if key in _TEXT_FIELDS else _shared(value) for key, value in item.items()})


def random_trip(seed: int, items_count: int = 12, comments_count: int = 4) -> dict[str, Any]:
    """A trip as JSON-able data. About 330 bytes of update an item, 250 a comment."""
    dice = random.Random(seed)
    return {
        "title": _phrase(dice, 3),
        "description": _phrase(dice, 12),
        "notes": "\n".join(_phrase(dice, 8) for _ in range(6)),
        "meta": {
            "id": _identifier(dice),
            "owner_id": "user-0",
            "created_at": 1_760_000_000_000,
            "updated_at": 1_760_000_000_000,
            "version": 1,
        },
        "collaborators": [
            {"user_id": f"user-{n}", "name": _phrase(dice, 1), "role": "editor"} for n in range(3)
        ],
        "itinerary": [random_item(dice) for _ in range(items_count)],
        "budget": {"EUR": 1200.5, "JPY": 90000},
        "attachments": [{"id": _identifier(dice), "name": "voucher.pdf", "bytes": 48_213}],
        "comments": [_random_comment(dice) for _ in range(comments_count)],
    }


def random_item(dice: random.Random) -> dict[str, Any]:
    """An item of the itinerary."""
    return {
        "id": _identifier(dice),
        "day": dice.randrange(1, 15),
        "time_slot": dice.choice(["morning", "noon", "evening"]),
        "type": dice.choice(_TYPES),
        "resource_id": _identifier(dice),
        "title": _phrase(dice, 3),
        "notes": _phrase(dice, 8),
        "booking_status": dice.choice(["pending", "confirmed", "cancelled"]),
        "cost": dice.randrange(40_000) / 100,
        "currency": "EUR",
    }


def edited_trip(update: bytes, seed: int, client_id: int, edits_count: int = 10) -> bytes:
    """The update of the trip after random edits of the kinds that people make."""
    doc: Doc[Any] = Doc(client_id=client_id)
    doc.apply_update(update)
    edit_trip(doc, random.Random(seed), edits_count)
    return doc.get_update()


def edit_trip(doc: Doc[Any], dice: random.Random, edits_count: int) -> None:
    """Make edits, each in a transaction of its own."""
    for _ in range(edits_count):
        with doc.transaction():
            _edit(doc, dice)


def _edit(doc: Doc[Any], dice: random.Random) -> None:
    itinerary = doc.get("itinerary", type=Array)
    comments = doc.get("comments", type=Array)
    items_count = len(itinerary)
    match dice.randrange(8):
        case 0:
            itinerary.insert(dice.randrange(items_count + 1), trip_item(random_item(dice)))
        case 1 if items_count:
            del itinerary[dice.randrange(items_count)]
        case 2 if items_count:
            _type(itinerary[dice.randrange(items_count)]["notes"], dice)
        case 3 if items_count:
            item = itinerary[dice.randrange(items_count)]
            item["cost"] = dice.randrange(40_000) / 100
            item["booking_status"] = dice.choice(["pending", "confirmed", "cancelled"])
        case 4 if items_count > 1:  # a move, as clients do it: Yjs has none
            at = dice.randrange(items_count)
            item = itinerary[at].to_py()
            del itinerary[at]
            itinerary.insert(dice.randrange(items_count), trip_item(item))
        case 5:
            doc.get("budget", type=Map)[dice.choice(["EUR", "JPY", "CHF"])] = dice.randrange(5000)
        case 6 if len(comments):
            comment = comments[dice.randrange(len(comments))]
            comment["resolved"] = dice.random() < 0.5
            comment["replies"].append(Map({"id": _identifier(dice), "content": Text(_phrase(dice, 4))}))
        case _:
            _type(doc.get(dice.choice(TEXT_ROOTS), type=Text), dice)


def _type(text: Text, dice: random.Random) -> None:
    """Type a few words, or delete a stretch."""
    content = str(text)
    start = dice.randrange(len(content) + 1)
    end = min(len(content), start + dice.randrange(12))
    place = len(content[:start].encode())
    if dice.random() < 0.4:
        del text[place : place + len(content[start:end].encode())]
    else:
        text.insert(place, _phrase(dice, 2) + " ")


def _random_comment(dice: random.Random) -> dict[str, Any]:
    return {
        "id": _identifier(dice),
        "target": {"type": "item", "path": "itinerary/0"},
        "author_id": "user-1",
        "content": _phrase(dice, 6),
        "resolved": False,
        "created_at": 1_760_000_000_000,
        "replies": [{"id": _identifier(dice), "author_id": "user-2", "content": _phrase(dice, 4)}],
    }


def _shared(value: Any) -> Any:
    match value:
        case dict():
            return trip_item(value)
        case list():
            return Array([_shared(item) for item in value])
        case _:
            return value


def _phrase(dice: random.Random, words_count: int) -> str:
    return " ".join(dice.choice(_WORDS) for _ in range(words_count))


def _identifier(dice: random.Random) -> str:
    return "".join(dice.choices(string.hexdigits[:16], k=32))
