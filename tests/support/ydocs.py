"""Yjs updates for tests: written by hand, drawn at random through pycrdt, or recorded."""

from __future__ import annotations

import gzip
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab_server.wire.lib0 import encode_var_string, encode_var_uint

Id = tuple[int, int]

_RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data"


def varints(*numbers: int) -> bytes:
    """Some var-uints, one after the other."""
    return b"".join(encode_var_uint(number) for number in numbers)


def item(
    ref: int,
    content: bytes,
    *,
    origin: Id | None = None,
    right: Id | None = None,
    root: str = "text",
    parent: Id | None = None,
    key: str | None = None,
) -> bytes:
    """A struct with content."""
    info = ref | (0x80 if origin else 0) | (0x40 if right else 0) | (0x20 if key is not None else 0)
    out = bytes((info,))
    if origin:
        out += varints(*origin)
    if right:
        out += varints(*right)
    if not origin and not right:
        out += b"\x00" + varints(*parent) if parent else b"\x01" + encode_var_string(root)
        if key is not None:
            out += encode_var_string(key)
    return out + content


def string(text: str, **where: Any) -> bytes:
    """A struct that holds text."""
    return item(4, encode_var_string(text), **where)


def array_type(**where: Any) -> bytes:
    """A struct that holds a shared array."""
    return item(7, b"\x00", **where)


def gc(length: int) -> bytes:
    """A struct that has lost its place."""
    return b"\x00" + varints(length)


def skip(length: int) -> bytes:
    """A gap."""
    return b"\x0a" + varints(length)


def update(
    *sections: tuple[int, int, Sequence[bytes]], deletes: Sequence[tuple[int, int, int]] = ()
) -> bytes:
    """An update of (client, clock, structs) sections and (client, start, length) deletions."""
    out = varints(len(sections))
    for client, clock, structs in sections:
        out += varints(len(structs), client, clock) + b"".join(structs)
    out += varints(len(deletes))
    for client, start, length in deletes:
        out += varints(client, 1, start, length)
    return out


def recorded(name: str) -> list[bytes] | None:
    """The updates of a recorded session; None where the recordings are not at hand."""
    path = _RECORDED / f"{name}.yupd.gz"
    if not path.exists():
        return None
    data = gzip.decompress(path.read_bytes())
    updates: list[bytes] = []
    at = 0
    while at < len(data):
        _, _, size = struct.unpack_from("<IBI", data, at)
        at += 9
        updates.append(data[at : at + size])
        at += size
    return updates


def typed(seed: int, edits: int, people: int = 2) -> list[bytes]:
    """Somebody types, jumps, and corrects: a stand-in for a recorded session."""
    dice = random.Random(seed)
    updates: list[bytes] = []
    docs: list[Doc[Any]] = []
    for person in range(people):
        doc: Doc[Any] = Doc(client_id=10**9 + person * 7919)
        doc["text"] = Text()
        docs.append(doc)
    cursors = [0] * people
    for _ in range(edits):
        person = dice.randrange(people)
        doc = docs[person]
        text: Text = doc["text"]
        changes: list[bytes] = []
        subscription = doc.observe(_collector(changes))
        if dice.random() < 0.05:
            cursors[person] = dice.randint(0, len(text))
        cursor = min(cursors[person], len(text))
        if cursor and dice.random() < 0.15:
            del text[cursor - 1 : cursor]
            cursor -= 1
        else:
            text.insert(cursor, dice.choice("etaoin shrdlu\n"))
            cursor += 1
        cursors[person] = cursor
        doc.unobserve(subscription)
        updates += changes
        for other in docs:
            for change in changes:
                if other is not doc:
                    other.apply_update(change)
    return updates


ROOTS: dict[str, Callable[[], Any]] = {"text": Text, "array": Array, "map": Map, "xml": XmlFragment}


def _new_doc(client_id: int = 1) -> Doc[Any]:
    doc: Doc[Any] = Doc(client_id=client_id)
    for name, make in ROOTS.items():
        doc[name] = make()
    return doc


def content(updates: Sequence[bytes]) -> str:
    """What pycrdt reads out of some updates, as text that is equal for equal documents."""
    doc = _new_doc()
    for change in updates:
        doc.apply_update(change)
    values = (doc["text"].diff(), doc["array"].to_py(), doc["map"].to_py(), str(doc["xml"]))
    return "\n".join(repr(_ordered(value)) for value in values)


def _ordered(value: Any) -> Any:
    """The same value with the keys of its maps in order: pycrdt gives them in any."""
    if isinstance(value, dict):
        return [(key, _ordered(value[key])) for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [_ordered(inner) for inner in value]
    return value


def _collector(changes: list[bytes]) -> Callable[[Any], None]:
    def collect(event: Any) -> None:
        changes.append(event.update)

    return collect


class Session:
    """Some people who edit one document at the same time, and now and then hear of each other."""

    def __init__(self, seed: int, people: int = 3) -> None:
        self._dice = random.Random(seed)
        self._docs = [_new_doc(self._dice.randrange(1, 2**32)) for _ in range(people)]
        self.updates: list[bytes] = []
        """What each of them sent, in an order that respects causality."""

    def edit(self, steps: int) -> list[bytes]:
        """Make that many random steps; all updates up to now."""
        for _ in range(steps):
            doc = self._dice.choice(self._docs)
            if self._dice.random() < 0.2:
                other = self._dice.choice(self._docs)
                doc.apply_update(other.get_update(doc.get_state()))
                continue
            changes: list[bytes] = []
            subscription = doc.observe(_collector(changes))
            with doc.transaction():
                for _ in range(self._dice.randint(1, 3)):
                    self._step(doc)
            doc.unobserve(subscription)
            self.updates += changes
        return self.updates

    def _step(self, doc: Doc[Any]) -> None:
        dice = self._dice
        kind = dice.choice(("text", "array", "map", "xml"))
        if kind == "text":
            self._in_text(doc["text"])
        elif kind == "array":
            self._in_array(doc["array"])
        elif kind == "map":
            key = dice.choice("abc")
            if key in doc["map"] and dice.random() < 0.3:
                del doc["map"][key]
            else:
                doc["map"][key] = self._value()
        else:
            self._in_xml(doc["xml"])

    def _in_text(self, text: Text) -> None:
        # pycrdt counts a text in bytes of UTF-8: only ASCII can be cut anywhere
        dice = self._dice
        size = len(text)
        choice = dice.random()
        if choice < 0.6 or not size:
            text.insert(dice.randint(0, size), dice.choice(("a", "bc", "def ", "typed")))
            return
        start = dice.randrange(size)
        end = dice.randint(start + 1, min(size, start + 5))
        if choice < 0.85:
            del text[start:end]
        else:
            text.format(start, end, dice.choice(({"bold": True}, {"bold": None}, {"size": 2})))

    def _in_array(self, array: Array[Any]) -> None:
        dice = self._dice
        if len(array) and dice.random() < 0.35:
            del array[dice.randrange(len(array))]
            return
        nested = [value for value in array if isinstance(value, (Array, Text, Map))]
        if nested and dice.random() < 0.4:
            chosen = dice.choice(nested)
            if isinstance(chosen, Array):
                self._in_array(chosen)
            elif isinstance(chosen, Text):
                self._in_text(chosen)
            else:
                chosen[dice.choice("ab")] = self._value()
            return
        array.insert(dice.randint(0, len(array)), self._value())

    def _in_xml(self, xml: XmlFragment) -> None:
        dice = self._dice
        children = xml.children
        if len(children) and dice.random() < 0.3:
            del children[dice.randrange(len(children))]
        else:
            children.append(XmlElement("p", {"k": "v"}) if dice.random() < 0.5 else XmlText("text"))

    def _value(self) -> Any:
        dice = self._dice
        return dice.choice(
            (
                lambda: 1,
                lambda: -2.5,
                lambda: None,
                lambda: "word",
                lambda: {"k": [1, {"n": "x"}]},
                lambda: b"\x00\xff",
                lambda: Text("inner"),
                lambda: Array([1, 2]),
                lambda: Map({"k": 1}),
            )
        )()
