"""Random documents of every kind of shared type, and random edits to them; the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

ROOTS: dict[str, Any] = {"notes": Text, "itinerary": Array, "budget": Map, "page": XmlFragment}

_WORDS = ["Rome ", "ferry ", "Zürich", "🏔️", "東京", " ", "a", "hotel\n", "👩‍👩‍👧", "é", "museum of the sea "]
_KEYS = ["a", "b", "c", "ключ"]
_DEPTH_MAX = 3


def random_document(seed: int, client_id: int = 1, edits_count: int = 30) -> bytes:
    """The update of a document that ``client_id`` made with some edits to every root."""
    doc: Doc[Any] = Doc(client_id=client_id)
    edit(doc, random.Random(seed), edits_count)
    return doc.get_update()


def random_edits(update: bytes, seed: int, client_id: int, edits_count: int = 10) -> bytes:
    """The update of the document after more edits by another client."""
    doc: Doc[Any] = Doc(client_id=client_id)
    doc.apply_update(update)
    edit(doc, random.Random(seed), edits_count)
    return doc.get_update()


def edit(doc: Doc[Any], dice: random.Random, edits_count: int) -> None:
    """Make edits, each in a transaction of its own."""
    for _ in range(edits_count):
        name = dice.choice(list(ROOTS))
        with doc.transaction():
            _edit_type(doc.get(name, type=ROOTS[name]), dice, 0)


def random_value(dice: random.Random, depth: int) -> Any:
    """A value for an array or a map: shared types too, while ``depth`` allows."""
    makers: list[Callable[[], Any]] = [
        lambda: dice.randrange(2**31),
        lambda: -dice.randrange(1000) / 8,
        lambda: dice.choice(_WORDS),
        lambda: dice.random() < 0.5,
        lambda: None,
        lambda: {"day": dice.randrange(9), "place": [dice.choice(_WORDS), b"\x00\xff"]},
        lambda: dice.randbytes(3),
        lambda: 2**60 + dice.randrange(9),
        lambda: float("nan"),
        lambda: Doc(guid=f"sub-{dice.randrange(9)}"),
    ]
    if depth < _DEPTH_MAX:
        makers += [
            lambda: Map({"id": dice.randrange(12), "title": Text(dice.choice(_WORDS))}),
            lambda: Map({"id": f"item-{dice.randrange(12)}"}),
            Map,
            Array,
            lambda: Text(dice.choice(_WORDS)),
            XmlFragment,
        ]
    return dice.choice(makers)()


def _edit_type(shared: Any, dice: random.Random, depth: int) -> None:
    match shared:
        case Text() | XmlText():
            _edit_text(shared, dice)
        case Array():
            _edit_array(shared, dice, depth)
        case Map():
            _edit_map(shared, dice, depth)
        case _:
            _edit_xml(shared, dice, depth)


def _edit_text(text: Text | XmlText, dice: random.Random) -> None:
    places = [0]
    for content, _ in text.diff():
        for character in content if isinstance(content, str) else [None]:
            places.append(places[-1] + (1 if character is None else len(character.encode())))
    start = dice.randrange(len(places))
    end = min(start + dice.randrange(6), len(places) - 1)
    match dice.randrange(7):
        case 0 | 1:
            text.insert(places[start], dice.choice(_WORDS))
        case 2:
            text.insert(places[start], dice.choice(_WORDS), {dice.choice(["bold", "em"]): True})
        case 3:
            del text[places[start] : places[end]]
        case 4:
            text.format(places[start], places[end], {dice.choice(["bold", "em"]): dice.choice([True, None])})
        case 5:
            text.insert_embed(places[start], {"image": dice.randrange(5)})
        case 6 if isinstance(text, XmlText):
            text.attributes["lang"] = dice.choice(_WORDS)


def _edit_array(array: Array[Any], dice: random.Random, depth: int) -> None:
    nested = [item for item in array if _is_shared(item)]
    choice = dice.randrange(7)
    if choice <= 1 and len(array):
        at = dice.randrange(len(array))
        del array[at : at + 1 + dice.randrange(min(3, len(array) - at))]
    elif choice <= 3 and nested:
        _edit_type(dice.choice(nested), dice, depth + 1)
    else:
        array.insert(dice.randrange(len(array) + 1), random_value(dice, depth))


def _edit_map(entries: Map[Any], dice: random.Random, depth: int) -> None:
    key = dice.choice(_KEYS)
    nested = [item for item in entries.values() if _is_shared(item)]
    choice = dice.randrange(6)
    if choice == 0:
        if key in entries:
            del entries[key]
    elif choice <= 2 and nested:
        _edit_type(dice.choice(nested), dice, depth + 1)
    else:
        entries[key] = random_value(dice, depth)


def _edit_xml(xml: XmlFragment | XmlElement, dice: random.Random, depth: int) -> None:
    children = list(xml.children)
    choice = dice.randrange(7)
    if choice == 0 and children:
        del xml.children[dice.randrange(len(children))]
    elif choice <= 2 and children:
        _edit_type(dice.choice(children), dice, depth + 1)
    elif choice == 3 and isinstance(xml, XmlElement):
        xml.attributes[dice.choice(["class", "id"])] = dice.choice(_WORDS)
    elif depth < _DEPTH_MAX:
        child = XmlElement(dice.choice(["p", "li"])) if dice.random() < 0.5 else XmlText(dice.choice(_WORDS))
        xml.children.insert(dice.randrange(len(children) + 1), child)


def _is_shared(value: Any) -> bool:
    return isinstance(value, Map | Array | Text | XmlFragment | XmlElement | XmlText)
