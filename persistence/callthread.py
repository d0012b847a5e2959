"""A thread that makes blocking calls for an event loop, one after the other, in the order in which they came.

It knows nothing of databases. Whoever hands it calls decides that a resource is used on this thread only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from persistence.errors import StoreUnavailableError

T = TypeVar("T")


class CallThread:
    """One thread and its bounded queue.

    A call's exception goes to the caller and never ends the thread. A caller that is cancelled while its call
    waits in the queue takes the call back; a call that has begun runs to its end, and its result is dropped.
    """

    def __init__(self, name: str, calls_max: int) -> None:
        self._name = name
        self._calls_max = calls_max
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._stopped: Future[None] = Future()
        self._is_stopping = False
        # A daemon: a process that dies without closing its store must not hang here. What was
        # committed is durable, what was not was never reported as done.
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many calls wait."""
        return self._queue.qsize()

    async def run(self, call: Callable[[], T]) -> T:
        """Make ``call`` on the thread. Raises what it raises; StoreUnavailableError at a full queue."""
        if self._is_stopping:
            raise StoreUnavailableError(f"{self._name}: the store is closed")
        if self._queue.qsize() >= self._calls_max:
            raise StoreUnavailableError(f"{self._name}: {self._calls_max} calls wait already")
        future: Future[T] = Future()
        self._queue.put((future, call))
        return await asyncio.wrap_future(future)

    async def stop(self, last: Callable[[], None]) -> None:
        """Make the calls that wait, then ``last``, and end the thread. Called again, it just waits."""
        if not self._is_stopping:
            self._is_stopping = True
            self._queue.put((Future(), last))
            self._queue.put(None)
        # Shielded: a stop that is cancelled must not take the shared future from the next one.
        await asyncio.shield(asyncio.wrap_future(self._stopped))

    def _loop(self) -> None:
        while (item := self._queue.get()) is not None:
            future, call = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller, not to this thread
                future.set_exception(error)
            else:
                future.set_result(result)
            # What a call carried can be 20 MB; do not hold it until the next one comes.
            del item, future, call
            result = None
        self._stopped.set_result(None)
