"""The comparison at the end: has everybody the same document, and is it what was written?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pycrdt

from bench.generator.ledger import read_state_vector


@dataclass(frozen=True, slots=True)
class Content:
    """What two replicas must have in common."""

    texts: tuple[str, ...]
    state: bytes

    @classmethod
    def of(cls, updates: Sequence[bytes], roots: Sequence[str]) -> Content:
        """The content of a replica that got these updates. ValueError when one of them is none."""
        doc: pycrdt.Doc[Any] = pycrdt.Doc()
        with doc.transaction():
            for update in updates:
                doc.apply_update(update)
        texts = tuple(str(doc.get(root, type=pycrdt.Text)) for root in roots)
        return cls(texts, b"".join(sorted(_entries(doc.get_state()))))


def _entries(state: bytes) -> list[bytes]:
    # Each entry on its own: the order in which a state vector names its clients means nothing.
    return [
        client.to_bytes(8, "big") + clock.to_bytes(8, "big") for client, clock in read_state_vector(state)
    ]
