"""A store whose calls can be made to stall, to fail, or to commit and then lose the reply.

Without a fault it is the store that it wraps, which the contract suite proves.

    store = FaultyStore(MemoryStore())
    fault = store.stall("append")          # every append waits ...
    await fault.reached.wait()             # ... and the test knows that one does
    fault.clear()                          # ... and goes on
    store.fail_before("append", times=2)   # the next two raise and write nothing
    store.fail_after("append")             # commits, then raises, until cleared
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from persistence.base import (
    Append,
    Appended,
    DocumentDump,
    DocumentInfo,
    HistoryPart,
    HistorySize,
    NewCheckpoint,
    NewRevocation,
    NewSegment,
    Notice,
    NoticeKind,
    Revocation,
    SegmentInfo,
    Snapshot,
    Store,
    StoredDocument,
    VersionInfo,
)
from persistence.errors import StoreError, StoreUnavailableError

T = TypeVar("T")


OTHERS = (
    *("restore_name", "list_documents", "notify", "notices"),
    *("add_revocation", "revocations", "drop_revocations"),
    *("list_segments", "read_history", "history_size", "expired", "trim"),
    *("add_version", "list_versions", "read_version", "set_pinned", "rename_version", "delete_version"),
    *("dump", "restore_dump"),
)


class FaultKind(Enum):
    STALL = "stall"
    """Waits before the call is made, until the fault is cleared."""
    STALL_AFTER = "stall after"
    """Makes the call, and waits before it tells, until the fault is cleared."""
    FAIL_BEFORE = "fail before"
    """Raises; nothing was written."""
    FAIL_AFTER = "fail after"
    """Makes the call, then raises: the reply was lost."""


@dataclass(eq=False)
class Fault:
    """One planted fault. ``reached`` is set once a call has met it."""

    kind: FaultKind
    calls: frozenset[str]
    times_left: int | None
    error: StoreError
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    cleared: asyncio.Event = field(default_factory=asyncio.Event)
    hits: int = 0

    def clear(self) -> None:
        """End the fault; calls that stall in it go on."""
        self.cleared.set()

    def take(self, call: str) -> bool:
        if self.cleared.is_set() or call not in self.calls or self.times_left == 0:
            return False
        if self.times_left is not None:
            self.times_left -= 1
        self.hits += 1
        self.reached.set()
        return True


class FaultyStore:
    """The wrapper. Name calls as the methods are named; none named means all but open and close."""

    ALL = frozenset(("ping", "load", "append", "compact", "delete", *OTHERS))

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        """How often each method was called, whatever became of it."""
        self._faults: list[Fault] = []

    def stall(self, *calls: str, times: int | None = None, after: bool = False) -> Fault:
        return self._plant(FaultKind.STALL_AFTER if after else FaultKind.STALL, calls, times, None)

    def fail_before(self, *calls: str, times: int | None = None, error: StoreError | None = None) -> Fault:
        return self._plant(FaultKind.FAIL_BEFORE, calls, times, error)

    def fail_after(self, *calls: str, times: int | None = None, error: StoreError | None = None) -> Fault:
        return self._plant(FaultKind.FAIL_AFTER, calls, times, error)

    def heal(self) -> None:
        """Clear every fault."""
        for fault in self._faults:
            fault.clear()
        self._faults.clear()

    def _plant(
        self, kind: FaultKind, calls: tuple[str, ...], times: int | None, error: StoreError | None
    ) -> Fault:
        unknown = set(calls) - self.ALL
        if unknown:
            raise ValueError(f"a store has no calls named {sorted(unknown)}")
        fault = Fault(
            kind, frozenset(calls) or self.ALL, times, error or StoreUnavailableError("a planted fault")
        )
        self._faults.append(fault)
        return fault

    async def _pass(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[name] += 1
        fault = next((fault for fault in self._faults if fault.take(name)), None)
        if fault is None:
            return await call()
        match fault.kind:
            case FaultKind.STALL:
                await fault.cleared.wait()
                return await call()
            case FaultKind.FAIL_BEFORE:
                raise fault.error
            case FaultKind.STALL_AFTER:
                result = await call()
                await fault.cleared.wait()
                return result
            case FaultKind.FAIL_AFTER:
                await call()
                raise fault.error

    @property
    def schema_version(self) -> int:
        return self.inner.schema_version

    @property
    def migrated(self) -> tuple[int, int] | None:
        return self.inner.migrated

    async def open(self, *, migrate: bool = True, read_only: bool = False) -> None:
        await self.inner.open(migrate=migrate, read_only=read_only)

    async def close(self) -> None:
        await self.inner.close()

    async def ping(self) -> None:
        await self._pass("ping", self.inner.ping)

    async def load(self, room: str) -> StoredDocument | None:
        return await self._pass("load", lambda: self.inner.load(room))

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        return await self._pass("append", lambda: self.inner.append(group))

    async def compact(
        self,
        room: str,
        snapshot: Snapshot,
        absorbed: Sequence[int],
        *,
        segments: Sequence[NewSegment] = (),
        checkpoint: NewCheckpoint | None = None,
    ) -> bool:
        return await self._pass(
            "compact",
            lambda: self.inner.compact(room, snapshot, absorbed, segments=segments, checkpoint=checkpoint),
        )

    async def delete(self, room: str) -> bool:
        return await self._pass("delete", lambda: self.inner.delete(room))

    async def restore_name(self, room: str) -> None:
        await self._pass("restore_name", lambda: self.inner.restore_name(room))

    async def list_documents(
        self, *, after: str = "", prefix: str = "", limit: int = 100
    ) -> Sequence[DocumentInfo]:
        return await self._pass(
            "list_documents", lambda: self.inner.list_documents(after=after, prefix=prefix, limit=limit)
        )

    async def notify(self, room: str, kind: NoticeKind) -> None:
        await self._pass("notify", lambda: self.inner.notify(room, kind))

    async def notices(self, after: int | None) -> tuple[int, Sequence[Notice]]:
        return await self._pass("notices", lambda: self.inner.notices(after))

    async def add_revocation(self, revocation: NewRevocation) -> int:
        return await self._pass("add_revocation", lambda: self.inner.add_revocation(revocation))

    async def revocations(self, after: int = 0, *, limit: int = 1000) -> Sequence[Revocation]:
        return await self._pass("revocations", lambda: self.inner.revocations(after, limit=limit))

    async def drop_revocations(self, before_ms: int) -> int:
        return await self._pass("drop_revocations", lambda: self.inner.drop_revocations(before_ms))

    async def list_segments(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[SegmentInfo]:
        return await self._pass(
            "list_segments", lambda: self.inner.list_segments(room, before=before, limit=limit)
        )

    async def read_history(
        self, room: str, *, segment: int | None = None, at_ms: int | None = None
    ) -> HistoryPart | None:
        return await self._pass(
            "read_history", lambda: self.inner.read_history(room, segment=segment, at_ms=at_ms)
        )

    async def history_size(self, room: str) -> HistorySize:
        return await self._pass("history_size", lambda: self.inner.history_size(room))

    async def expired(self, before_ms: int, limit: int, *, after: str = "") -> Sequence[str]:
        return await self._pass("expired", lambda: self.inner.expired(before_ms, limit, after=after))

    async def trim(
        self,
        room: str,
        *,
        before_ms: int,
        upto_segment: int | None = None,
        base: NewCheckpoint | None = None,
    ) -> bool:
        return await self._pass(
            "trim",
            lambda: self.inner.trim(room, before_ms=before_ms, upto_segment=upto_segment, base=base),
        )

    async def add_version(
        self, room: str, name: str, author: str | None, at_ms: int, data: bytes, pinned: bool
    ) -> int:
        return await self._pass(
            "add_version", lambda: self.inner.add_version(room, name, author, at_ms, data, pinned)
        )

    async def list_versions(
        self, room: str, *, before: int | None = None, limit: int = 50
    ) -> Sequence[VersionInfo]:
        return await self._pass(
            "list_versions", lambda: self.inner.list_versions(room, before=before, limit=limit)
        )

    async def read_version(self, room: str, version: int) -> bytes | None:
        return await self._pass("read_version", lambda: self.inner.read_version(room, version))

    async def set_pinned(self, room: str, version: int, pinned: bool) -> bool:
        return await self._pass("set_pinned", lambda: self.inner.set_pinned(room, version, pinned))

    async def rename_version(self, room: str, version: int, name: str) -> bool:
        return await self._pass("rename_version", lambda: self.inner.rename_version(room, version, name))

    async def delete_version(self, room: str, version: int) -> bool:
        return await self._pass("delete_version", lambda: self.inner.delete_version(room, version))

    async def dump(self, room: str, *, bytes_max: int) -> DocumentDump | None:
        return await self._pass("dump", lambda: self.inner.dump(room, bytes_max=bytes_max))

    async def restore_dump(self, dump: DocumentDump, *, revive: bool = False) -> bool:
        return await self._pass("restore_dump", lambda: self.inner.restore_dump(dump, revive=revive))
