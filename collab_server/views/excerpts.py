"""Values of a document as JSON of bounded size, for a difference that a person looks at.

The shape is that of ``views.documents``: a Text is its plain string, XML its markup. What is cut is said
to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collab_server.views.documents import _object, _value
from collab_server.views.tree import Leaf, Node, Run, Value

ELLIPSIS = "…"
OBJECT_REPLACEMENT = "\ufffc"
_ITEM_COST = 2


class Excerpt:
    """One value, cut where its characters are used up; ``truncated`` says whether anything is missing."""

    def __init__(self, value: Value, characters_max: int) -> None:
        self._left = self._characters_max = characters_max
        self.truncated = False
        self.value = self._shown(value) if isinstance(value, Node) else self._plain(value.value)

    @property
    def used(self) -> int:
        """About how many characters it shows."""
        return self._characters_max - max(self._left, 0)

    def _shown(self, value: Value) -> Any:
        if isinstance(value, Leaf):
            return self._plain(value.value)
        match value.kind:
            case "text":
                return self._text(plain_text(value.runs))
            case "array":
                return self._list(value.items, shared=True)
            case "map" | "empty":
                return self._object(value.entries, shared=True)
            case _:
                return self._text(str(value.handle))

    def _plain(self, value: Any) -> Any:
        match value:
            case str():
                return self._text(value)
            case bytes() | bytearray() | memoryview():
                return self._binary(bytes(value))
            case dict():
                return self._object({str(name): item for name, item in value.items()}, shared=False)
            case list() | tuple():
                return self._list(value, shared=False)
            case _:
                self._left -= _ITEM_COST
                return _value(value, rich=False)

    def _text(self, text: str) -> str:
        kept = max(self._left, 0)
        self._left -= len(text) + _ITEM_COST
        if len(text) <= kept:
            return text
        self.truncated = True
        return text[:kept] + ELLIPSIS

    def _binary(self, data: bytes) -> Any:
        kept = max(self._left, 0) * 3 // 4
        self._left -= len(data) * 4 // 3 + _ITEM_COST
        self.truncated |= len(data) > kept
        return _value(data[:kept], rich=False)

    def _list(self, items: Iterable[Any], *, shared: bool) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if self._left <= 0:
                self.truncated = True
                break
            self._left -= _ITEM_COST
            found.append(self._shown(item) if shared else self._plain(item))
        return found

    def _object(self, entries: dict[str, Any], *, shared: bool) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in sorted(entries):
            if self._left <= 0:
                self.truncated = True
                break
            self._left -= len(name) + _ITEM_COST
            found[name] = self._shown(entries[name]) if shared else self._plain(entries[name])
        return _object(found)


def plain_text(runs: Iterable[Run]) -> str:
    """The characters of a text; an embed is U+FFFC."""
    return "".join(run.content if isinstance(run.content, str) else OBJECT_REPLACEMENT for run in runs)


def utf16_length(runs: Iterable[Run]) -> int:
    """The length that JavaScript sees: UTF-16 units; an embed is one."""
    return len(plain_text(runs).encode("utf-16-le")) // 2


def middle_cut(text: str, characters_max: int) -> str:
    """A text's beginning and end, when it is longer than that."""
    if len(text) <= characters_max:
        return text
    half = characters_max // 2
    return text[:half] + ELLIPSIS + text[len(text) - half :]
