"""Worker processes with limits: what is done there can fail, hang or crash, and harms only the asker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar, cast

from collab_server.errors import ViewError
from collab_server.views.worker import HEADER

P = ParamSpec("P")
T = TypeVar("T")

START_TIMEOUT_S = 60.0


class ViewFailedError(ViewError):
    """A call failed in, or never reached, a worker.

    ``reason`` is one of: ``full`` (too many wait), ``timeout``, ``memory``, ``died`` (the worker did),
    ``error`` (the function raised), ``closed`` (the pool is).
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ViewPool:
    """Runs module-level functions in worker processes.

    Workers start with the first call that needs them. A call waits its turn (first come, first served); from
    then on it has ``timeout_s``. A worker that runs over its time, dies, or whose caller was cancelled is
    killed, and the next call gets a new one. Nothing here blocks the event loop, but for the copying of
    arguments and results.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        timeout_s: float = 10.0,
        memory_bytes_max: int = 1024 * 1024 * 1024,
        queue_max: int = 64,
        on_done: Callable[[float], None] | None = None,
        on_failed: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            workers: how many processes at most.
            timeout_s: how long one call may keep a worker.
            memory_bytes_max: a worker's address space.
            queue_max: calls that may wait for a worker.
            on_done: called with the seconds that a call took, waiting included.
            on_failed: called with the reason of a failure, see ``ViewFailedError``.
        """
        self._timeout_s = timeout_s
        self._memory_bytes_max = memory_bytes_max
        self._queue_max = queue_max
        self._on_done = on_done
        self._on_failed = on_failed
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._turns = asyncio.Semaphore(workers)
        self._waiting = 0
        self._calls: set[asyncio.Task[object]] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker now."""
        return self._waiting

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in a worker and return what it returns.

        The function must be importable by its module and name; arguments and result are pickled.

        Raises:
            ViewFailedError: with the reason; the caller may go on.
        """
        began = time.perf_counter()
        try:
            result = await self._take_turn(pickle.dumps((function, args, kwargs), protocol=5))
        except ViewFailedError as error:
            if self._on_failed is not None:
                self._on_failed(error.reason)
            raise
        if self._on_done is not None:
            self._on_done(time.perf_counter() - began)
        return cast(T, result)

    async def close(self) -> None:
        """Fail the calls under way, kill the workers, and wait until they are gone. Idempotent."""
        self._closed = True
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*(worker.kill() for worker in list(self._all)))
        self._idle.clear()
        self._all.clear()

    async def _take_turn(self, message: bytes) -> object:
        self._refuse_when_closed()
        if self._turns.locked() and self._waiting >= self._queue_max:
            raise ViewFailedError("full", "too many requests wait for a worker; try again later")
        # A task of its own, so that close() can end it without cancelling whoever asked.
        call = asyncio.create_task(self._call(message))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            return await call
        except asyncio.CancelledError:
            if self._closed and call.cancelled():
                raise ViewFailedError("closed", "the server is shutting down") from None
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            raise

    async def _call(self, message: bytes) -> object:
        with self._counted_as_waiting():
            await self._turns.acquire()
        try:
            self._refuse_when_closed()
            worker = self._idle.pop() if self._idle else await self._started()
            healthy = False
            try:
                async with asyncio.timeout(self._timeout_s):
                    outcome, value, text = await worker.call(message)
                healthy = outcome != "memory"
            except TimeoutError:
                raise ViewFailedError(
                    "timeout", f"the request took longer than {self._timeout_s:g} s"
                ) from None
            except (OSError, EOFError, asyncio.IncompleteReadError):
                raise ViewFailedError("died", "the worker died over the request") from None
            finally:
                if healthy:
                    self._idle.append(worker)
                else:
                    self._all.discard(worker)
                    await worker.kill()
        finally:
            self._turns.release()
        if outcome == "memory":
            raise ViewFailedError("memory", "the request needs more memory than a worker may use")
        if outcome == "error":
            raise ViewFailedError("error", f"{value}: {text}" if text else f"{value}")
        return value

    async def _started(self) -> _Worker:
        worker = _Worker()
        self._all.add(worker)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await worker.start(self._memory_bytes_max)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._all.discard(worker)
            await worker.kill()
            raise ViewFailedError("died", f"a worker did not start: {type(error).__name__}") from error
        return worker

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ViewFailedError("closed", "the server is shutting down")

    @contextlib.contextmanager
    def _counted_as_waiting(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1


class _Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None  # noqa: S101 - for the type checker: started before it is used
        return self._process.pid

    async def start(self, memory_bytes_max: int) -> None:
        """Start the process and wait until it has set its limits."""
        # Not the server's settings: they may hold the store's password.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COLLAB_")}
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "collab_server.views.worker", str(memory_bytes_max), str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the server alone
        )
        await self._receive()

    async def call(self, message: bytes) -> tuple[str, object, object]:
        """Send one call and wait for its outcome."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(HEADER.pack(len(message)))
        self._process.stdin.write(message)
        await self._process.stdin.drain()
        return await self._receive()

    async def kill(self) -> None:
        """End the process, whatever it does, and wait until it is gone."""
        process = self._process
        if process is None:
            return
        self._process = None
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(OSError):
                await process.stdin.wait_closed()
        await process.wait()

    async def _receive(self) -> tuple[str, object, object]:
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        header = await self._process.stdout.readexactly(HEADER.size)
        message = await self._process.stdout.readexactly(HEADER.unpack(header)[0])
        return cast("tuple[str, object, object]", pickle.loads(message))  # noqa: S301 - our own process wrote it
