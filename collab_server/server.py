"""Assembly: which part gets which, in which order they start, and in which order they stop.

Start: bind the ports, open the store, then the rooms' machinery, then the sockets, and only then say that we
are here. Stop: say "not ready", give the load balancer time to see it, stop listening, save everything, tell
the clients to come back, group by group, save what they said meanwhile, and let go of the store last.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import socket
import ssl
import time
from collections.abc import Callable, Coroutine

import structlog
import uvicorn
import uvloop

from collab_server import listeners, openfiles, parts
from collab_server.access.assembly import Access
from collab_server.access.guarded import GuardedGatekeeper
from collab_server.access.revocations import Revocations
from collab_server.api.access import Doors
from collab_server.api.entrance import Application, HttpEntrance, OperationsEntrance
from collab_server.api.operations import operations_app
from collab_server.api.public import public_app
from collab_server.bus.opening import open_bus, open_counts
from collab_server.bus.redis import RedisBus
from collab_server.bus.telling import NobodyListens
from collab_server.config import Addresses, Settings
from collab_server.errors import BusConfigError, BusyError, CloseCode, ConfigError, NotAuthenticatedError
from collab_server.gateway.entrance import Entrance
from collab_server.gateway.gateway import Gateway
from collab_server.gateway.lobby import Lobby
from collab_server.gateway.shedding import Shedder
from collab_server.gateway.upgrade import WebSocketServer
from collab_server.hosting.archives import Archives
from collab_server.hosting.compactor import Compactor
from collab_server.hosting.documents import Documents
from collab_server.hosting.history import History
from collab_server.hosting.janitor import Janitor, NoticeReader, StoreWatch
from collab_server.hosting.journal import Journal
from collab_server.hosting.presences import Presences
from collab_server.hosting.registry import Registry
from collab_server.hosting.retention import Retention
from collab_server.hosting.revoking import Revoker
from collab_server.hosting.sharing import Sharing
from collab_server.inspection import NodeInspection
from collab_server.limits import Limits
from collab_server.telemetry import logs
from collab_server.telemetry.audit import AuditError, AuditLog
from collab_server.telemetry.connections import ConnectionCounts
from collab_server.telemetry.loop import GcPauses, LoopHealth, settle_gc
from collab_server.telemetry.metrics import Metrics, Refusal
from collab_server.version import version
from collab_server.webserver import WebServer
from collab_server.workerlink import Order, Place
from persistence.errors import SchemaError, StoreError, StoreUnavailableError, StoreUrlError
from persistence.urls import open_store

log = structlog.get_logger(__name__)

# How a drain divides its time: what is saved before anybody is told, until the last client is told, and until
# the last connection is cut. The rest is for what the clients have said last.
_SAVE_FIRST = 0.1
_TOLD = 0.6
_GONE = 0.8


def run(settings: Settings, on_started: Callable[[Addresses], None], place: Place | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. A second signal ends the process at once.

    With a ``place`` this is a worker: it has its ports from its supervisor, and leaves when told to.
    Raises ConfigError when the server cannot start with these settings.
    """
    logs.set_up(settings.log_format, settings.log_level)
    if place is not None:
        structlog.contextvars.bind_contextvars(worker=place.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, on_started, place))


async def _serve(settings: Settings, on_started: Callable[[Addresses], None], place: Place | None) -> int:
    stopping = asyncio.Event()

    def on_signal(number: int) -> None:
        # A worker may be signalled by a service manager and told by its supervisor: once is enough.
        if stopping.is_set() and place is None:
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    node = Node(settings, place.name if place is not None else None)
    obeying = loop.create_task(_obey(place, node, stopping), name="orders") if place is not None else None
    try:
        addresses = await node.start(
            on_broken=stopping.set, ports=(place.public, place.operations) if place is not None else None
        )
        on_started(addresses)
        await stopping.wait()
        if place is not None:
            place.say_leaving()
    finally:
        exit_code = await node.stop()
        if obeying is not None:
            obeying.cancel()
            await asyncio.gather(obeying, return_exceptions=True)
    return exit_code


async def _obey(place: Place, node: Node, stopping: asyncio.Event) -> None:
    """Do what the supervisor says."""
    try:
        async for order in place.orders():
            if order is Order.REPLACED:
                node.hand_over()
            stopping.set()
    finally:
        stopping.set()


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Node:
    """One server process: everything that it is made of, wired. Start it once, stop it once."""

    def __init__(self, settings: Settings, worker: str | None = None) -> None:
        """Wire the parts; ``worker`` is the name of this process among those with the same settings.

        Raises ConfigError for an address of a store or a bus that is none.
        """
        loop = asyncio.get_running_loop()
        self._settings = settings
        self._draining = False
        self._handed_over = asyncio.Event()
        self._broken = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._web: list[WebServer] = []
        self._on_broken: Callable[[], None] = lambda: None
        self._metrics = metrics = Metrics(version())
        try:
            self._store = open_store(settings.store)
            self._replica = open_store(settings.store_replica) if settings.store_replica else None
            bus_settings = parts.bus(settings)
        except (StoreUrlError, BusConfigError) as error:
            raise ConfigError(str(error)) from error
        node = parts.node_id(settings, worker, incarnation=_wall_clock_ms(), token=secrets.token_hex(3))
        self._bus = open_bus(bus_settings, node, metrics.bus, clock=loop.time, random=random.random)
        self._counts = open_counts(bus_settings, clock=loop.time)
        self._audit = AuditLog(
            settings.audit_log,
            now_ms=_wall_clock_ms,
            queue_max=settings.audit_queue_max,
            written=metrics.audit_lines,
            lost=metrics.audit_lost,
        )
        self._revocations = Revocations(settings.revocations_max)
        self._revoker = Revoker(
            self._store,
            self._revocations,
            poll_ms=settings.store_notice_poll_ms,
            keep_days=settings.revocation_keep_days,
            wall_clock_ms=_wall_clock_ms,
            random=random.random,
        )
        bounds, hosting = parts.bounds(settings), parts.hosting(settings)
        self._views = parts.view_pool(settings, metrics)
        self._compaction = parts.compaction_pool(settings)
        self._journal = Journal(
            self._store, parts.journal(settings), metrics, clock=loop.time, random=random.random
        )
        history = parts.history(settings)
        self._patient = parts.patient_pool(settings)
        self._compactor = Compactor(self._store, self._compaction, bounds, hosting, metrics, history)
        self._presences = Presences(
            lambda room: self._registry.get(room),  # noqa: PLW0108 - the registry is made below
            self._bus,
            answer_ms=settings.presence_answer_ms,
            random=random.random,
        )
        self._sharing: Sharing | None = None
        if self._bus.is_shared:
            self._sharing = Sharing(
                self._bus,
                self._store,
                self._presences,
                parts.sharing(settings),
                bounds,
                metrics,
                random=random.random,
                store_works=lambda: self._journal.trouble is None,
            )
        self._registry = Registry(
            self._store,
            self._journal,
            self._compactor,
            hosting,
            parts.room(settings),
            bounds,
            metrics,
            wall_clock_ms=_wall_clock_ms,
            neighbours=self._sharing,
        )
        self._janitor = Janitor(self._registry, self._compactor, hosting, clock=loop.time)
        self._notices = NoticeReader(self._store, self._registry, hosting)
        self._store_watch = StoreWatch(self._store, hosting, metrics)
        self._sessions = parts.sessions(settings, metrics, _wall_clock_ms, node=f"{secrets.token_hex(4)}-")
        self._limits = Limits(settings, clock=loop.time)
        self._access = Access(
            settings,
            metrics,
            clock=loop.time,
            wall_clock_ms=_wall_clock_ms,
            random=random.random,
            revoked=self._revocations,
        )
        self._gatekeeper = GuardedGatekeeper(
            self._access.gatekeeper,
            self._limits.wrong_tokens,
            clock=loop.time,
            on_refused=lambda: metrics.count_refused(Refusal.AUTH_FAILURES),
        )
        self._lobby = Lobby(
            self._registry,
            self._gatekeeper,
            self._sessions,
            parts.gateway(settings),
            metrics,
            audit=self._audit,
            traffic=self._limits.traffic,
            clock=loop.time,
        )
        self._shedder = Shedder(
            self._limits.load,
            self._lobby,
            self._limits.sample,
            metrics,
            closes_max_per_s=settings.shed_closes_max_per_s,
            clock=loop.time,
        )
        self._doors = Doors(
            self._gatekeeper,
            self._limits.callers,
            self._audit,
            room_name_bytes_max=settings.room_name_bytes_max,
            admin_token=settings.admin_token,
        )
        self._entrance = Entrance(
            Gateway(self._lobby).connection,
            self._limits.callers,
            self._limits.origins,
            self._limits.addresses,
            metrics,
            is_overloaded=lambda: self._shedder.refuses,
            clock=loop.time,
        )
        self._revoker.on_revoked = self._close_revoked
        self._sockets = WebSocketServer(
            self._entrance,
            parts.transport(settings),
            ConnectionCounts(metrics),
            on_gone=self._entrance.gone,
        )
        self._loop_health = LoopHealth(
            metrics.loop_lag_seconds,
            settings.loop_lag_interval_ms / 1000,
            settings.gc_full_interval_s,
            settings.gc_pause_max_ms,
        )
        self._documents = Documents(self._store, self._registry, self._views.run)
        if self._sharing is not None:
            self._sharing.on_stateless = self._lobby.courier.receive
            self._lobby.courier.publish = self._sharing.publish_stateless
            self._documents.on_deleted = self._sharing.publish_deleted
        self._history = History(
            self._store,
            self._registry,
            self._journal,
            self._compactor,
            self._views,
            self._patient,
            history,
            replica=self._replica,
            wall_clock_ms=_wall_clock_ms,
            random=random.random,
        )
        self._archives = Archives(
            self._store,
            self._history,
            self._patient,
            history,
            parts.archive_bounds(settings),
            replica=self._replica,
            wall_clock_ms=_wall_clock_ms,
        )
        self._retention = Retention(
            self._store, self._compaction, history, metrics, now_ms=_wall_clock_ms, random=random.random
        )
        self._inspection = NodeInspection(self._registry, self._sessions, self._sockets, self._bus)
        self._exits = contextlib.ExitStack()
        self._started = False
        self._publish_gauges()

    # -- what others ask

    def reasons(self) -> list[str]:
        """Why this node is not ready for clients, one sentence each; none when it is."""
        reasons = [
            self._journal.trouble,
            self._store_watch.trouble,
            self._access.trouble,
            self._shedder.trouble,
        ]
        if self._draining:
            reasons.append("this node is leaving")
        if self._broken:
            reasons.append("a part of this node has failed")
        return [reason for reason in dict.fromkeys(reasons) if reason is not None]

    def degraded(self) -> list[str]:
        """What does not work while this node serves its clients all the same, one sentence each."""
        return [] if self._bus.trouble is None else [self._bus.trouble]

    def _close_revoked(self) -> None:
        """End the sessions whose access was taken back, wherever that was said."""
        closed = self._sessions.close_where(
            lambda session: self._revocations.is_revoked(session.identity, session.room),
            NotAuthenticatedError("access was revoked"),
        )
        self._metrics.revocations_closed.inc(closed)

    # -- start and stop

    async def start(
        self, on_broken: Callable[[], None], ports: tuple[socket.socket, socket.socket] | None = None
    ) -> Addresses:
        """Serve. ``on_broken`` is called when a part has died that the node cannot do without.

        ``ports`` are sockets that listen already, for the public and for operations; else the settings say.
        Raises ConfigError when a port is taken, a certificate is wrong, or the store cannot be opened.
        """
        settings = self._settings
        self._on_broken = on_broken
        public, operations = ports or self._bind()
        try:
            self._open_audit_log()
            await self._open_stores()
            await self._access.open()
            await self._learn_revocations()
            await self._open_bus()
        except BaseException:
            public.close()
            operations.close()
            raise
        self._exits.enter_context(GcPauses(self._metrics.gc_pause_seconds))
        self._spawn("journal", self._journal.run())
        self._spawn("compactor", self._compactor.run())
        self._spawn("janitor", self._janitor.run())
        self._spawn("notices", self._notices.run())
        self._spawn("revocations", self._revoker.run())
        self._spawn("store watch", self._store_watch.run())
        self._spawn("retention", self._retention.run())
        self._spawn("keys", self._access.run())
        self._spawn("bus", self._bus.run())
        if self._sharing is not None:
            self._spawn("sharing", self._sharing.run())
        if self._counts is not None:
            self._spawn("limit sharing", self._limits.sharing(self._counts).run())
        self._spawn("lobby", self._lobby.run())
        self._spawn("shedder", self._shedder.run())
        self._spawn("loop health", self._loop_health.run())
        await self._sockets.start()
        secure = settings.tls_cert is not None
        scheme = "s" if secure else ""
        addresses = Addresses(
            http_url=listeners.url(f"http{scheme}", settings.host, public),
            ws_url=listeners.url(f"ws{scheme}", settings.host, public),
            ops_url=listeners.url("http", settings.ops_host, operations),
        )
        http = public_app(
            self._documents,
            self._views,
            settings,
            self._history,
            self._archives,
            doors=self._doors,
            revoking=self._revoker,
            posting=self._lobby.courier,
            presence=self._presences,
        )
        await self._serve_web(
            HttpEntrance(
                http,
                self._limits.callers,
                self._limits.origins,
                self._limits.http_requests,
                self._metrics,
                clock=asyncio.get_running_loop().time,
            ),
            public,
            sockets=self._sockets,
            secure=secure,
        )
        await self._serve_web(
            OperationsEntrance(
                operations_app(self._metrics, self, self._inspection), settings.ops_host, self._metrics
            ),
            operations,
        )
        settle_gc()
        self._started = True
        if (told := openfiles.shortage(openfiles.raise_limit(), settings.connections_max)) is not None:
            log.warning(told)
        log.info("started", http=addresses.http_url, operations=addresses.ops_url)
        return addresses

    def hand_over(self) -> None:
        """Another process serves on this node's ports from now on: ``stop`` need not give notice."""
        self._handed_over.set()

    async def stop(self) -> int:
        """Leave: see the top of this file. The exit code is 0 if everything was saved."""
        self._draining = True
        self._spawn("hand over", self._step_aside())
        if self._started and not self._broken:
            log.info("leaving", connections=len(self._sockets), rooms=self._registry.rooms_count)
            await self._give_notice()
        saved = await self._drain()
        await self._registry.close()
        await self._lobby.close()
        await self._access.close()
        await asyncio.gather(*(web.stop() for web in self._web))
        await self._sockets.stop()
        self._journal.close()
        await self._presences.close()
        if self._sharing is not None:
            self._sharing.close()
        await self._bus.close()
        await self._end_tasks(saved=saved)
        if self._counts is not None:
            await self._counts.close()
        await self._views.close()
        await self._compaction.close()
        await self._patient.close()
        if self._replica is not None:
            await self._replica.close()
        await self._store.close()
        self._audit.close()
        self._exits.close()
        if self._started:
            log.info("stopped", saved=saved)
        return 0 if saved and not self._broken else 1

    # -- inside

    def _bind(self) -> tuple[socket.socket, socket.socket]:
        settings = self._settings
        public = listeners.bind(settings.host, settings.port, "port")
        try:
            return public, listeners.bind(settings.ops_host, settings.ops_port, "ops_port")
        except ConfigError:
            public.close()
            raise

    async def _give_notice(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_notice_s):
                await self._handed_over.wait()

    async def _drain(self) -> bool:
        """Send the clients away and save everything; False if that was not done in time."""
        settings = self._settings
        started_at = asyncio.get_running_loop().time()
        leaving = BusyError("this node is leaving", CloseCode.SERVICE_RESTART)
        self._sockets.refuse_new(leaving)
        for web in self._web[:1]:
            if self._handed_over.is_set():
                web.let_go()
            else:
                await web.stop_listening()
        # What is saved before its author is sent away is acknowledged to it; but a store that is away must
        # not keep the clients here.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SAVE_FIRST * settings.drain_s):
                await self._registry.save()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(started_at + _GONE * settings.drain_s):
                await self._sockets.send_away(
                    leaving, over_s=_TOLD * settings.drain_s, min_per_s=settings.drain_clients_min_per_s
                )
                await self._sockets.wait_closed()
        await self._sockets.stop()
        saved = True
        try:
            async with asyncio.timeout_at(started_at + settings.drain_s):
                await self._registry.drain()
        except TimeoutError:
            saved = False
            log.error("not everything was saved in time", bytes_waiting=self._journal.bytes_waiting)
        return saved

    async def _step_aside(self) -> None:
        """Leave the operations port, which tells of the drain otherwise, to who answers there now."""
        await self._handed_over.wait()
        await asyncio.gather(*(web.stop() for web in self._web[1:]))

    def _open_audit_log(self) -> None:
        try:
            self._audit.open()
        except AuditError as error:
            raise ConfigError(str(error)) from error

    async def _learn_revocations(self) -> None:
        """Before anybody comes: a token that was revoked while this node was away is void here too."""
        try:
            await self._revoker.catch_up()
        except StoreError as error:
            raise ConfigError(f"the store cannot be read: {error}") from error

    async def _open_bus(self) -> None:
        try:
            await self._bus.open(self._sharing or NobodyListens())
        except BusConfigError as error:
            raise ConfigError(str(error)) from error

    async def _open_stores(self) -> None:
        try:
            await self._store.open(migrate=self._settings.migrate_at_start)
        except SchemaError as error:
            hint = "" if self._settings.migrate_at_start else "; see collab-server migrate"
            raise ConfigError(f"the store cannot be opened: {error}{hint}") from error
        except StoreError as error:
            raise ConfigError(f"the store cannot be opened: {error}") from error
        if self._replica is None:
            return
        try:
            await self._replica.open(migrate=False, read_only=True)
        except StoreUnavailableError as error:
            # It only takes work off the store, which is asked in its place.
            log.warning("the replica cannot be opened", error=str(error))
        except StoreError as error:
            raise ConfigError(f"store_replica cannot be opened: {error}") from error

    async def _serve_web(
        self,
        app: Application,
        listener: socket.socket,
        *,
        sockets: WebSocketServer | None = None,
        secure: bool = False,
    ) -> None:
        settings = self._settings
        config = uvicorn.Config(
            app,
            http=sockets.http_protocol if sockets is not None else "httptools",
            ws=sockets.ws_protocol if sockets is not None else "none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=settings.accept_backlog_max,
            timeout_graceful_shutdown=1,
            ssl_certfile=settings.tls_cert if secure else None,
            ssl_keyfile=settings.tls_key if secure else None,
        )
        try:
            config.load()
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"tls_cert or tls_key cannot be used: {error}") from error
        web = WebServer(config)
        self._web.append(web)
        self._spawn(f"web server {len(self._web)}", web.serve([listener]))
        await web.listening.wait()

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[name] = task
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """No part may end before it is told to: without one the node would go on half alive."""
        if self._draining or task.cancelled():
            return
        self._broken = True
        log.critical("a part of the node has ended", part=task.get_name(), exc_info=task.exception())
        self._on_broken()

    async def _end_tasks(self, *, saved: bool) -> None:
        journal = self._tasks.pop("journal", None)
        if journal is not None:
            if not saved:
                journal.cancel()
            await asyncio.gather(journal, return_exceptions=True)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _publish_gauges(self) -> None:
        metrics, registry, journal = self._metrics, self._registry, self._journal
        bus, counts = self._bus, metrics.bus
        counts.up.set_function(lambda: bus.trouble is None)
        counts.nodes.set_function(lambda: len(bus.nodes()))
        counts.shards_watched.set_function(lambda: len(bus.lag()))
        counts.entries_behind.set_function(lambda: sum(lag.entries_behind for lag in bus.lag().values()))
        if isinstance(bus, RedisBus):
            counts.queue_bytes.set_function(lambda: bus.queue_bytes)
        metrics.rooms.set_function(lambda: registry.rooms_count)
        metrics.members.set_function(lambda: sum(len(host.peers) for host in registry.hosts))
        metrics.sessions.set_function(lambda: len(self._sessions))
        metrics.slow_members.set_function(lambda: sum(host.slow_members_count for host in registry.hosts))
        metrics.connections.set_function(lambda: len(self._sockets))
        metrics.journal_entries.set_function(lambda: journal.entries_waiting)
        metrics.revocations.set_function(lambda: len(self._revocations))
        metrics.audit_waiting.set_function(lambda: self._audit.lines_waiting)
        metrics.journal_bytes.set_function(lambda: journal.bytes_waiting)
