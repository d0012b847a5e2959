"""What an update costs: ``python -m bench.ydoc [SESSION ...]``.

Reads recorded sessions from ``../shared/data`` where they are at hand, else types one, and prints
microseconds per update for ``inspect``, for ``DocumentLog.add``, for both, and for pycrdt's ``apply_update``
in the same minute; then the cost of what is done to whole documents, and sizes. The best of several rounds:
machines are noisy.
"""

from __future__ import annotations

import gc
import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from pycrdt import Doc, Text

from collab_server.ydoc.compaction import compact
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.update import splice

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
_ROUNDS = 5


def _recorded(path: Path) -> list[bytes]:
    data = gzip.decompress(path.read_bytes())
    updates, at = [], 0
    while at < len(data):
        size = struct.unpack_from("<IBI", data, at)[2]
        updates.append(data[at + 9 : at + 9 + size])
        at += 9 + size
    return updates


def _typed(edits: int) -> list[bytes]:
    doc: Doc[Any] = Doc(client_id=2**31 + 7)
    doc["text"] = text = Text()
    updates = []
    for number in range(edits):
        before = doc.get_state()
        at = len(text) if number % 40 else len(text) // 2
        text.insert(at, "x")
        updates.append(doc.get_update(before))
    return updates


def _best(work: Callable[[], object]) -> float:
    """Seconds of the best round."""
    best = float("inf")
    for _ in range(_ROUNDS):
        gc.collect()
        start = perf_counter()
        work()
        best = min(best, perf_counter() - start)
    return best


def _inspect_all(updates: list[bytes]) -> None:
    for update in updates:
        inspect(update)


def _log(updates: list[bytes]) -> DocumentLog:
    log = DocumentLog()
    for update in updates:
        log.add(inspect(update))
    return log


def _apply_all(updates: list[bytes]) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


def _splice_windows(updates: list[bytes]) -> None:
    for at in range(0, len(updates), 16):
        splice(updates[at : at + 16])


def _fold_time(updates: list[bytes]) -> float:
    log = _log(updates)
    start = perf_counter()
    log.fold()
    return perf_counter() - start


def _report(name: str, updates: list[bytes]) -> None:
    count = len(updates)
    micro = 1e6 / count
    looked = _best(lambda: _inspect_all(updates)) * micro
    both = _best(lambda: _log(updates)) * micro
    windows = _best(lambda: _splice_windows(updates)) * micro
    native = _best(lambda: _apply_all(updates)) * micro
    log = _log(updates)
    stored = compact(None, updates)
    compacting = _best(lambda: compact(None, updates)) * 1e3
    folding = min(_fold_time(updates) for _ in range(_ROUNDS)) * 1e3
    opening = _best(lambda: DocumentLog.open(stored.data, stored.index, [])) * 1e3
    lines = (
        f"{name}: {count} updates, {sum(map(len, updates))} bytes",
        f"  us per update: inspect {looked:.2f}, inspect and add {both:.2f}, splice by 16 {windows:.2f}, "
        f"pycrdt {native:.2f}",
        f"  ms: fold all {folding:.1f}, compact all {compacting:.1f}, open {opening:.3f}",
        f"  bytes: log {len(log.encode())}, compacted {len(stored.data)}, index {len(stored.index)}, "
        f"pycrdt {len(_apply_all(updates).get_update())}",
    )
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> None:
    """Measure the sessions that were named, or all that there are."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted(_DATA.glob("*.yupd.gz"))
    for path in paths:
        _report(path.name, _recorded(path))
    if not paths:
        _report("typed", _typed(20_000))


if __name__ == "__main__":
    main()
