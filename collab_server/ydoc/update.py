"""The algebra of updates: unite, cut off what is known, make small. Bytes in, bytes out.

All of these take updates that ``inspect`` has passed. An update is a list of structs for each client and a
set of deletions; two updates with the same structs and deletions mean the same, however they are grouped.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from collab_server.wire.lib0 import encode_var_uint
from collab_server.ydoc.bounds import UNBOUNDED
from collab_server.ydoc.collection import collect_structs
from collab_server.ydoc.content import SKIP
from collab_server.ydoc.idset import IdSet
from collab_server.ydoc.inspection import Inspected, inspect
from collab_server.ydoc.integration import runs_of
from collab_server.ydoc.pending import Run
from collab_server.ydoc.squash import squash_structs
from collab_server.ydoc.structs import Struct, cut, read_structs, write_length_struct

EMPTY = b"\x00\x00"
"""An update without structs and deletions."""

__all__ = [
    "EMPTY",
    "Inspected",
    "collect",
    "collect_all",
    "encode_spans",
    "inspect",
    "since",
    "splice",
    "splice_inspected",
    "squash",
    "write_sections",
]

Structs = dict[int, list[Struct]]
"""The structs of an update by client, in clock order, without overlaps; where clocks jump there is a gap."""


def splice(updates: Sequence[bytes]) -> bytes:
    """One update with everything that these updates hold, each struct byte for byte.

    Clients are written with higher ids first, as Yjs does. What is there twice is written once; a struct that
    overlaps others is cut; gaps become Skips.
    """
    if len(updates) == 1:
        return updates[0]
    return splice_inspected([inspect(update, UNBOUNDED) for update in updates])


def splice_inspected(updates: Iterable[Inspected]) -> bytes:
    """Like ``splice``, for updates that have been looked through."""
    by_client: dict[int, list[Run]] = {}
    counts: dict[int, int] | None = {}
    spans: array[int] = array("q")
    for inspected in updates:
        spans.extend(inspected.spans)
        if not inspected.plain:
            counts = None
        for section in inspected.sections:
            if counts is not None:
                counts[section.client] = counts.get(section.client, 0) + section.count
        for run in runs_of(inspected):
            by_client.setdefault(run.client, []).append(run)
    parts = [encode_var_uint(len(by_client))]
    for client in sorted(by_client, reverse=True):
        runs = by_client[client]
        runs.sort()
        parts.append(_join_runs(client, runs, counts))
    parts.append(encode_spans(spans))
    return b"".join(parts)


def _join_runs(client: int, runs: list[Run], counts: dict[int, int] | None) -> bytes:
    head = encode_var_uint(client) + encode_var_uint(runs[0].clock)
    if counts is not None and all(left.end == right.clock for left, right in pairwise(runs)):
        return encode_var_uint(counts[client]) + head + b"".join([run.raw() for run in runs])
    parts: list[bytes] = []
    clock = runs[0].clock
    for struct in _flatten(client, runs):
        if struct.clock > clock:
            parts.append(write_length_struct(SKIP, struct.clock - clock))
        parts.append(struct.raw())
        clock = struct.end
    return encode_var_uint(len(parts)) + head + b"".join(parts)


def _flatten(client: int, runs: list[Run]) -> list[Struct]:
    """The structs of sorted runs, in clock order, without overlaps."""
    structs: list[Struct] = []
    clock = 0
    for run in runs:
        if run.end <= clock:
            continue
        for struct in read_structs(run.data, run.at, run.until, run.clock):
            if struct.end > clock:
                structs.append(cut(struct, client, clock, struct.end) if struct.clock < clock else struct)
                clock = struct.end
    return structs


def encode_spans(spans: array[int]) -> bytes:
    """Flat (client, start, end) triples as the deletions of an update, normalised."""
    if not spans:
        return b"\x00"
    if len(spans) == 3:
        client, start, end = spans
        return (
            b"\x01"
            + encode_var_uint(client)
            + b"\x01"
            + encode_var_uint(start)
            + encode_var_uint(end - start)
        )
    return IdSet.of_spans(spans).encode()


def write_sections(sections: Sequence[tuple[int, int, int, bytes]], spans: array[int]) -> bytes:
    """An update of (client, clock, count, structs) sections and deletions."""
    parts = [encode_var_uint(len(sections))]
    for client, clock, count, raw in sorted(sections, reverse=True):
        parts.append(encode_var_uint(count) + encode_var_uint(client) + encode_var_uint(clock))
        parts.append(raw)
    parts.append(encode_spans(spans))
    return b"".join(parts)


def read_update(updates: Iterable[bytes]) -> tuple[Structs, IdSet]:
    """All structs and deletions of some updates."""
    by_client: dict[int, list[Run]] = {}
    spans: array[int] = array("q")
    for update in updates:
        inspected = inspect(update, UNBOUNDED)
        spans.extend(inspected.spans)
        for run in runs_of(inspected):
            by_client.setdefault(run.client, []).append(run)
    structs: Structs = {}
    for client, runs in by_client.items():
        runs.sort()
        structs[client] = _flatten(client, runs)
    return structs, IdSet.of_spans(spans)


def write_update(structs: Structs, deletes: IdSet) -> bytes:
    """Structs and deletions as an update, joined where that can be."""
    parts = [encode_var_uint(len(structs))]
    for client in sorted(structs, reverse=True):
        raw, count = squash_structs(client, structs[client])
        parts.append(
            encode_var_uint(count) + encode_var_uint(client) + encode_var_uint(structs[client][0].clock)
        )
        parts.append(raw)
    parts.append(deletes.encode())
    return b"".join(parts)


def since(update: bytes, vector: Mapping[int, int]) -> bytes:
    """What an update holds beyond a state vector, and all of its deletions.

    A struct that begins before the known clock is sent whole: clients take in the part that they lack.
    """
    inspected = inspect(update, UNBOUNDED)
    parts: list[bytes] = []
    clients = 0
    for section in sorted(inspected.sections, key=lambda section: -section.client):
        known = vector.get(section.client, 0)
        if section.end <= known:
            continue
        at, clock, left = section.at, section.clock, section.count
        if clock < known:
            for struct in read_structs(update, at, section.until, clock):
                if struct.end > known and struct.ref != SKIP:
                    at, clock = struct.at, struct.clock
                    break
                left -= 1
        clients += 1
        parts.append(encode_var_uint(left) + encode_var_uint(section.client) + encode_var_uint(clock))
        parts.append(update[at : section.until])
    return encode_var_uint(clients) + b"".join(parts) + encode_spans(inspected.spans)


def squash(update: bytes) -> bytes:
    """The same update in fewer structs: what Yjs would merge is merged."""
    return write_update(*read_update([update]))


def collect(update: bytes) -> bytes:
    """The same update without the content that is deleted, squashed. Give it a whole document."""
    return collect_all([update])


def collect_all(updates: Iterable[bytes]) -> bytes:
    """Some updates as one, without the content that is deleted, squashed."""
    structs, deletes = read_update(updates)
    structs, deletes = collect_structs(structs, deletes)
    return write_update(structs, deletes)
