"""Many workers on one machine: a supervisor starts them, replaces those that die, and stops them in order.

The supervisor owns the ports and hands them to its workers: to each its own socket, all bound to one port
(SO_REUSEPORT, so that the kernel deals connections out evenly), or each to a port of its own. A worker that
is replaced closes its copy only, so a connection that the kernel has accepted for it is never reset: the next
worker of the same place takes it. Workers are processes of their own that run the same command line, so a
replacement reads the settings (and the program) anew.

    SIGTERM, SIGINT   stop all workers in order; a second one ends everything at once
    SIGHUP            replace one worker after the other, without closing a port

It serves no client and opens no store.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field

import structlog

from collab_server import listeners
from collab_server.bus.urls import parse_bus_url
from collab_server.config import Addresses, Settings
from collab_server.errors import BusConfigError, ConfigError
from collab_server.telemetry import logs
from collab_server.workerlink import Order, WorkerLink

log = structlog.get_logger(__name__)

_PAUSE_MIN_S = 0.25
_PAUSE_MAX_S = 30.0
"""The longest pause between two attempts to put a worker back in its place."""
_PAUSE_UNHEARD_S = 1.0
"""Before a pause of so long the place's ports are closed: who comes then shall be refused, and not wait."""
_SOUND_AFTER_S = 60.0
"""A worker that served for so long did not die of how it was started: the pauses begin anew."""
_START_MAX_S = 300.0
"""How long a replacement may take to start; it may have to wait for the store."""
_KILL_AFTER_S = 10.0
"""Beyond what a worker's drain may take."""
_SETTLING_S = 0.2
"""A service manager signals the workers and the supervisor together: wait for the second."""


def is_wanted(settings: Settings) -> bool:
    """Whether these settings ask for a supervisor."""
    return settings.workers > 1 or settings.ports_from is not None


def check(settings: Settings) -> None:
    """Refuse what cannot work. Raises ConfigError."""
    if settings.workers > 1:
        shared = "workers share their rooms"
        if settings.bus is None:
            raise ConfigError(
                f"workers is {settings.workers}, but {shared} through Redis: set bus to its address"
            )
        try:
            parse_bus_url(settings.bus)
        except BusConfigError as error:
            raise ConfigError(str(error)) from error
        if settings.store.startswith("memory:"):
            raise ConfigError(
                f"workers is {settings.workers}, but {shared} through the store, and memory: is not shared"
            )
    if settings.ports_from is not None and settings.ports_from + settings.workers > 65536:
        raise ConfigError(
            f"ports_from {settings.ports_from} leaves no room for {settings.workers} ports: the last is 65535"
        )
    public, operations = ports(settings)
    both = sorted(set(public) & set(operations) - {0}) if settings.host == settings.ops_host else []
    if both:
        raise ConfigError(
            f"port {both[0]} is asked for twice: the workers serve on {_range(public)}, "
            f"and their operations ports are {_range(operations)}; set ops_port"
        )
    if operations[-1] > 65535:
        raise ConfigError(
            f"ops_port {operations[0]} leaves no room for {settings.workers} ports: the last is 65535"
        )


def ports(settings: Settings) -> tuple[list[int], list[int]]:
    """The public ports and the operations ports; 0 is any free one."""
    count = settings.workers
    first = settings.ports_from
    public = [settings.port] if first is None else [first + index if first else 0 for index in range(count)]
    ops_port = settings.ops_port
    operations = [ops_port + index if ops_port else 0 for index in range(count)]
    if "ops_port" not in settings.model_fields_set and set(public) & set(operations) - {0}:
        # Nobody asked for these: they make way.
        operations = [public[-1] + 1 + index for index in range(count)]
    return public, operations


def _range(ports: Sequence[int]) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"


def run(settings: Settings, command: Sequence[str], on_started: Callable[[Sequence[Addresses]], None]) -> int:
    """Serve with workers until SIGTERM or SIGINT; returns the exit code.

    ``command`` starts one worker; ``--supervisor-fd N`` is added to it.
    Raises ConfigError when a port is taken.
    """
    check(settings)
    logs.set_up(settings.log_format, settings.log_level)
    return asyncio.run(Supervisor(settings, command, on_started).run())


@dataclass(slots=True, eq=False)
class _Worker:
    """One process."""

    name: str
    process: asyncio.subprocess.Process
    link: WorkerLink
    standing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it serves or has ended."""
    departing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it leaves of its own accord or has ended."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: Addresses | None = None
    """Where it serves; None until then."""
    serving_since: float = 0.0
    exit_code: int | None = None

    @property
    def ending(self) -> str:
        """How it ended, for the log."""
        code = self.exit_code
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit code {code}"


@dataclass(slots=True, eq=False)
class _Slot:
    """A place for one worker: its two ports, and who is there now."""

    index: int
    name: str
    public: socket.socket
    operations: socket.socket
    public_address: tuple[str, int]
    operations_address: tuple[str, int]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the worker is exchanged."""
    worker: _Worker | None = None
    generation: int = 0
    deaths: int = 0
    """In a row, each soon after the start."""
    is_heard: bool = True
    """Whether its ports are open."""


class Supervisor:
    """See the top of this file."""

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        on_started: Callable[[Sequence[Addresses]], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._command = list(command)
        self._on_started = on_started
        self._clock = clock
        self._slots: list[_Slot] = []
        self._workers: set[_Worker] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None
        self._rolls_again = False
        self._has_terminal = _has_terminal()

    async def run(self) -> int:
        """Serve until told to stop; the exit code is 0 if every worker has saved everything."""
        self._slots = self._open_places()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        failed = 0
        try:
            failed = await self._start_all()
            if not failed and not self._stopping.is_set():
                self._on_started(
                    [slot.worker.addresses for slot in self._slots if slot.worker and slot.worker.addresses]
                )
                for slot in self._slots:
                    self._spawn_task(self._mind(slot), f"place {slot.index}")
                log.info("started", workers=len(self._slots))
                await self._stopping.wait()
        finally:
            unsaved = await self._stop_all()
        return failed or unsaved

    # -- signals

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set():
            for worker in self._workers:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.kill()
            os._exit(128 + number)
        self._stopping.set()

    def _on_hangup(self) -> None:
        if self._has_terminal and not _has_terminal():
            self._stopping.set()  # the terminal was closed
        elif self._rolling is not None and not self._rolling.done():
            self._rolls_again = True
        else:
            self._rolling = self._spawn_task(self._roll(), "roll")

    # -- places

    def _open_places(self) -> list[_Slot]:
        settings = self._settings
        count = settings.workers
        public_ports, operations_ports = ports(settings)
        if settings.ports_from is None:
            public = listeners.bind_group(
                settings.host, public_ports[0], count, "port", settings.accept_backlog_max
            )
        else:
            public = listeners.bind_each(settings.host, public_ports[0], count, "ports_from")
        try:
            operations = listeners.bind_each(settings.ops_host, operations_ports[0], count, "ops_port")
        except ConfigError:
            for listener in public:
                listener.close()
            raise
        return [
            _Slot(
                index,
                f"worker-{index}",
                public[index],
                operations[index],
                (settings.host, public[index].getsockname()[1]),
                (settings.ops_host, operations[index].getsockname()[1]),
            )
            for index in range(count)
        ]

    def _close_ports(self, slot: _Slot) -> None:
        if slot.is_heard:
            slot.is_heard = False
            slot.public.close()
            slot.operations.close()

    def _open_ports(self, slot: _Slot) -> None:
        """Open a place's ports again. Raises ConfigError when somebody else has taken one meanwhile."""
        if slot.is_heard:
            return
        backlog = self._settings.accept_backlog_max
        shared = self._settings.ports_from is None
        public = listeners.listening(*slot.public_address, "port", backlog, shared=shared)
        try:
            operations = listeners.bind(*slot.operations_address, "ops_port")
        except ConfigError:
            public.close()
            raise
        slot.public, slot.operations, slot.is_heard = public, operations, True

    # -- workers

    async def _start_all(self) -> int:
        """Start a worker at each place; the exit code of one that cannot be started, or 0.

        The first one goes ahead: it brings the store's schema up to date, and tells what is wrong with the
        settings once and not many times.
        """
        first, *others = self._slots
        for slots in ([first], others):
            workers = [await self._start(slot) for slot in slots]
            for slot, worker in zip(slots, workers, strict=True):
                await self._either_stopping(worker.standing)
                slot.worker = worker
            if self._stopping.is_set():
                return 0
            for worker in workers:
                if worker.addresses is None:
                    return worker.exit_code if worker.exit_code is not None and worker.exit_code > 0 else 1
        return 0

    async def _either_stopping(self, event: asyncio.Event) -> None:
        waiting = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._stopping.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    async def _start(self, slot: _Slot) -> _Worker:
        """Start a process for a place. Raises OSError when the machine cannot have one more."""
        ours, theirs = socket.socketpair()
        name = slot.name if not slot.generation else f"{slot.name}.{slot.generation}"
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "--supervisor-fd",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), slot.public.fileno(), slot.operations.fileno()),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = _Worker(name, process, await WorkerLink.over(ours))
        self._workers.add(worker)
        worker.link.assign(name, slot.index, slot.public, slot.operations)
        self._spawn_task(self._watch(worker), f"watch {name}")
        return worker

    async def _watch(self, worker: _Worker) -> None:
        """Hear what a worker says, until it has ended."""
        async for addresses in worker.link.told():
            if addresses is None:
                worker.departing.set()
            else:
                worker.addresses, worker.serving_since = addresses, self._clock()
                worker.standing.set()
        worker.exit_code = await worker.process.wait()
        self._workers.discard(worker)
        for event in (worker.ended, worker.departing, worker.standing):
            event.set()

    async def _mind(self, slot: _Slot) -> None:
        """Keep a worker at a place: when it leaves or dies, the next one comes."""
        while True:
            worker = slot.worker
            assert worker is not None  # noqa: S101 - for the type checker: there is one since the start
            await worker.departing.wait()
            await asyncio.sleep(_SETTLING_S)
            async with slot.lock:
                if slot.worker is worker:
                    await self._replace(slot, worker)

    async def _replace(self, slot: _Slot, lost: _Worker) -> None:
        """Put somebody in the place of a worker that has left or died, however long that takes."""
        if lost.ended.is_set():
            log.error("a worker has died and is replaced", worker=lost.name, how=lost.ending)
        else:
            log.info("a worker leaves and is replaced", worker=lost.name)
            slot.generation += 1
        if self._clock() - lost.serving_since > _SOUND_AFTER_S:
            slot.deaths = 0
        while True:
            pause_s = back_off_s(slot.deaths)
            slot.deaths += 1
            if pause_s >= _PAUSE_UNHEARD_S:
                log.error(
                    "a worker dies again and again", place=slot.name, times=slot.deaths, pause_s=pause_s
                )
                self._close_ports(slot)
            await asyncio.sleep(pause_s)
            successor = await self._started(slot)
            if successor is not None:
                slot.worker = successor
                lost.link.order(Order.REPLACED)
                return

    async def _started(self, slot: _Slot) -> _Worker | None:
        """A new worker for a place that serves already; None if that cannot be had now."""
        try:
            self._open_ports(slot)
            worker = await self._start(slot)
        except (ConfigError, OSError) as error:
            log.error("a worker cannot be started", place=slot.name, error=str(error))
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_MAX_S):
                await worker.standing.wait()
        if worker.addresses is not None and not worker.ended.is_set():
            log.info("a worker serves", worker=worker.name, pid=worker.process.pid)
            return worker
        if not worker.ended.is_set():
            worker.process.kill()
            await worker.ended.wait()
        log.error("a worker did not start", worker=worker.name, how=worker.ending)
        return None

    async def _roll(self) -> None:
        """Replace one worker after the other; a replacement that does not start ends it."""
        while True:
            self._rolls_again = False
            log.info("replacing all workers, one after the other")
            for slot in self._slots:
                async with slot.lock:
                    old = slot.worker
                    assert old is not None  # noqa: S101 - for the type checker: there is one since the start
                    slot.generation += 1
                    successor = await self._started(slot)
                    if successor is None:
                        log.error(
                            "the replacement has failed; the workers that are there stay", place=slot.name
                        )
                        return
                    slot.worker = successor
                    old.link.order(Order.REPLACED)
                    await self._end_of(old)
            log.info("all workers are replaced")
            if not self._rolls_again:
                return

    # -- the end

    async def _stop_all(self) -> int:
        """Tell all workers to leave and wait for them; 0 if they have saved everything."""
        # First the tasks: none of them may start a worker now. Those that watch go on.
        for task in list(self._tasks):
            if not task.get_name().startswith("watch "):
                task.cancel()
        for slot in self._slots:
            self._close_ports(slot)
        leaving = list(self._workers)
        for worker in leaving:
            worker.link.order(Order.STOP)
        await asyncio.gather(*(self._end_of(worker) for worker in leaving))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        unsaved = [worker for worker in leaving if worker.exit_code]
        for worker in unsaved:
            log.error("a worker has not ended in order", worker=worker.name, how=worker.ending)
        log.info("stopped", saved=not unsaved)
        return 1 if unsaved else 0

    async def _end_of(self, worker: _Worker) -> None:
        """Wait for a worker that was told to leave; one that takes too long is killed."""
        settings = self._settings
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_notice_s + settings.drain_s + _KILL_AFTER_S):
                await worker.ended.wait()
        if not worker.ended.is_set():
            log.error("a worker does not end and is killed", worker=worker.name)
            worker.process.kill()
            await worker.ended.wait()

    def _spawn_task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the supervisor has failed", part=task.get_name(), exc_info=error)
            self._stopping.set()


def back_off_s(deaths: int) -> float:
    """How long to wait before a place gets its next worker, after so many deaths in a row."""
    return 0.0 if deaths == 0 else min(_PAUSE_MAX_S, _PAUSE_MIN_S * 2 ** min(deaths, 16))


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
