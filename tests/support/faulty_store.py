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
    DocumentInfo,
    Notice,
    NoticeKind,
    Snapshot,
    Store,
    StoredDocument,
)
from persistence.errors import StoreError, StoreUnavailableError

T = TypeVar("T")


OTHERS = ("restore_name", "list_documents", "notify", "notices")


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

    async def open(self) -> None:
        await self.inner.open()

    async def close(self) -> None:
        await self.inner.close()

    async def ping(self) -> None:
        await self._pass("ping", self.inner.ping)

    async def load(self, room: str) -> StoredDocument | None:
        return await self._pass("load", lambda: self.inner.load(room))

    async def append(self, group: Sequence[Append]) -> Sequence[Appended]:
        return await self._pass("append", lambda: self.inner.append(group))

    async def compact(self, room: str, snapshot: Snapshot, absorbed: Sequence[int]) -> bool:
        return await self._pass("compact", lambda: self.inner.compact(room, snapshot, absorbed))

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
