"""Every metric of the server, defined here and nowhere else."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from collab_server.errors import CloseCode
from collab_server.telemetry.busmetrics import BusMetrics
from collab_server.telemetry.instruments import Distribution, DistributionCollector, Flow, FlowCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

DELIVERY_SECONDS = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.010, 0.015, 0.020, 0.025, 0.030, 0.040, 0.050),
    *(0.075, 0.1, 0.25, 0.5, 1, 5),
)
"""Fine below 50 ms, where the promise is."""
WORK_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
STORE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
WINDOW_SECONDS = (0, 0.001, 0.002, 0.005, 0.010, 0.015, 0.020, 0.030, 0.050, 0.1)
PAUSE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
COUNTS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Kind(StrEnum):
    """What a message is, as a label."""

    SYNC_STEP_1 = "sync_step_1"
    SYNC_STEP_2 = "sync_step_2"
    UPDATE = "update"
    AWARENESS = "awareness"
    QUERY_AWARENESS = "query_awareness"
    AUTH = "auth"
    SYNC_STATUS = "sync_status"
    STATELESS = "stateless"
    CLOSE = "close"
    PING = "ping"
    KEEPALIVE = "keepalive"
    TEXT = "text"
    UNKNOWN = "unknown"


class Refusal(StrEnum):
    """Why a connection was not let in."""

    CONNECTIONS_MAX = "connections_max"
    ROOMS_MAX = "rooms_max"
    MEMBERS_MAX = "members_max"
    ROOM_NAME = "room_name"
    BAD_REQUEST = "bad_request"
    ORIGIN = "origin"
    ADDRESS_CONNECTIONS = "address_connections"
    ADDRESS_RATE = "address_rate"
    AUTH_FAILURES = "auth_failures"
    TENANT = "tenant"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    STORE = "store"
    DELETED = "deleted"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    DOCUMENTS_MAX = "documents_max"
    QUEUE = "queue"
    OTHER = "other"


_CLOSE_CODES = {code.value: str(code.value) for code in CloseCode} | {1005: "1005", 1006: "1006"}


def _by_name(flows: Mapping[Kind, Flow]) -> Mapping[str, Flow]:
    return {kind.value: flow for kind, flow in flows.items()}


class Metrics:
    """One registry and all that is measured. Make one per server; tests make their own.

    Seconds are seconds, bytes are payload bytes without WebSocket framing. Labels take values from closed sets only;
    what a client chooses never becomes a label.

    | metric | kind | what it says |
    |---|---|---|
    | `collab_build_info` | info | versions of the server and of Python |
    | `collab_connections` | gauge | WebSocket connections open now |
    | `collab_rooms` | gauge | rooms open on this node now |
    | `collab_members` | gauge | connections that are in a room now |
    | `collab_sessions` | gauge | stays of clients in rooms, with those on their way in; many on one Hocuspocus connection |
    | `collab_messages_received_total` | counter, kind | messages from clients |
    | `collab_bytes_received_total` | counter, kind | their bytes |
    | `collab_messages_sent_total` | counter, kind | messages to clients, one for each recipient |
    | `collab_bytes_sent_total` | counter, kind | their bytes before compression |
    | `collab_delivery_seconds` | histogram | from the first update of a window received to its frame written to a socket |
    | `collab_flush_window_seconds` | histogram | how long updates of a room were gathered before they were sent on |
    | `collab_flush_seconds` | histogram | time that one flush of a room took: splice, encode, write to all |
    | `collab_flush_recipients` | histogram | fan-out: members that one flush was sent to |
    | `collab_commit_seconds` | histogram | time of one commit of the journal into the store |
    | `collab_commit_updates` | histogram | updates in one commit |
    | `collab_journal_entries` | gauge | updates that wait for the store |
    | `collab_journal_bytes` | gauge | their bytes |
    | `collab_room_load_seconds` | histogram | time to open a room: read the store, build the log |
    | `collab_store_errors_total` | counter, call | calls of the store that failed |
    | `collab_store_up` | gauge | 1 if the last call of the store succeeded |
    | `collab_connections_accepted_total` | counter | connections let in |
    | `collab_connections_refused_total` | counter, reason | connections not let in |
    | `collab_connections_closed_total` | counter, code, by | connections ended, by close code and by who began: server or client |
    | `collab_load_level` | gauge | 0: normal; 1: too much to do, new connections are refused; 2: some are closed |
    | `collab_load_closed_total` | counter | connections closed because there was too much to do |
    | `collab_slow_members` | gauge | members that get nothing live until their socket has drained |
    | `collab_resyncs_total` | counter | slow members that got one difference and went on |
    | `collab_reads_paused_total` | counter | connections held back for sending too fast |
    | `collab_stateless_missed_total` | counter | stateless messages that a member missed because its socket was full |
    | `collab_updates_known_total` | counter | updates that brought nothing new and went no further |
    | `collab_rooms_evicted_total` | counter | quiet rooms saved and closed |
    | `collab_compactions_total` | counter, outcome | compactions of stored documents: done, lost (somebody else was first), failed |
    | `collab_compaction_seconds` | histogram | time of one compaction |
    | `collab_view_seconds` | histogram | time of one request to a view worker, waiting included |
    | `collab_view_failures_total` | counter, reason | requests to view workers that failed: full, timeout, memory, died, error, closed |
    | `collab_audit_lines_total` | counter | lines of the audit log that were written |
    | `collab_audit_lost_total` | counter | lines of the audit log that could not be written, or found the queue full |
    | `collab_audit_waiting` | gauge | lines of the audit log that are not written yet |
    | `collab_revocations` | gauge | revocations that hold on this node |
    | `collab_revocations_closed_total` | counter | sessions that were closed because their access was revoked |
    | `collab_admissions_total` | counter, outcome | questions whether somebody may enter a room: admitted, unauthenticated, refused, busy |
    | `collab_key_reads_total` | counter, outcome | readings of key sets: done, failed |
    | `collab_keys` | gauge | keys that tokens are verified with |
    | `collab_access_callbacks_total` | counter, outcome | questions to the application: answered, cached, failed, paused (it failed too often), full |
    | `collab_access_callback_seconds` | histogram | time of one question to the application |
    | `collab_access_callbacks_waiting` | gauge | questions to the application that are under way or wait |
    | `collab_access_callback_cached` | gauge | answers of the application that are kept |
    | `collab_bus_up` | gauge | 1 if other nodes hear this one, or there can be none |
    | `collab_bus_nodes` | gauge | other nodes that are alive |
    | `collab_bus_shards_watched` | gauge | shards that this node listens to |
    | `collab_bus_queue_bytes` | gauge | bytes that wait to be said to other nodes |
    | `collab_bus_entries_behind` | gauge | entries of other nodes that this one has still to read, as far as is known |
    | `collab_messages_bus_total` | counter, kind | messages between nodes: sent, received |
    | `collab_bytes_bus_total` | counter, kind | bytes of the entries that they were in |
    | `collab_bus_entries_sent_total` | counter | entries written to Redis |
    | `collab_bus_write_seconds` | histogram | time of one pipeline to Redis |
    | `collab_bus_delay_seconds` | histogram | from an entry written to it read on this node |
    | `collab_bus_gaps_total` | counter | times that a shard may have lost something, and its rooms were synced |
    | `collab_bus_bad_entries_total` | counter | entries that could not be read, and were skipped |
    | `collab_bus_links_lost_total` | counter | times that Redis was lost, or could not be had |
    | `collab_bus_messages_dropped_total` | counter | messages lost before they were said, for want of room or a broken stream |
    | `collab_loop_lag_seconds` | histogram | how late the event loop ran a timer |
    | `collab_gc_pause_seconds` | histogram, generation | pauses by the garbage collector |
    | `collab_shared_rooms` | gauge | rooms of this node that another node has spoken of lately |
    | `collab_node_syncs_total` | counter, what | between nodes: asked, answered, spared (others had said it), resynced (store read again) |
    | `collab_node_messages_refused_total` | counter | messages of other nodes that could not be taken |
    | `process_*`, `python_gc_*` | | memory, CPU, file descriptors and collections, from prometheus-client |
    """  # noqa: E501 - a row of a table stays a line

    def __init__(self, version: str = "") -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        info = Info("collab_build", "Versions of the server and of Python.", registry=self.registry)
        info.info({"version": version, "python": platform.python_version()})

        self._measure_sharing()
        self.connections = self._gauge("collab_connections", "WebSocket connections open now.")
        self.rooms = self._gauge("collab_rooms", "Rooms open on this node now.")
        self.members = self._gauge("collab_members", "Connections that are in a room now.")
        self.sessions = self._gauge("collab_sessions", "Stays in rooms, with those on their way in.")
        self.journal_entries = self._gauge("collab_journal_entries", "Updates that wait for the store.")
        self.journal_bytes = self._gauge(
            "collab_journal_bytes", "Bytes of the updates that wait for the store."
        )
        self.store_up = self._gauge("collab_store_up", "1 if the last call of the store succeeded.")
        self.slow_members = self._gauge("collab_slow_members", "Members that get nothing live until drained.")

        self.audit_waiting = self._gauge(
            "collab_audit_waiting", "Lines of the audit log that are not written yet."
        )
        self.revocations = self._gauge("collab_revocations", "Revocations that hold on this node.")

        self.bus = BusMetrics(self.registry)
        """What is counted of the way to other nodes."""
        self.received: Mapping[Kind, Flow] = {kind: Flow() for kind in Kind}
        """Messages from clients by kind: ``received[Kind.UPDATE].add(len(frame))``."""
        self.sent: Mapping[Kind, Flow] = {kind: Flow() for kind in Kind}
        """Messages to clients by kind; count a broadcast with ``add(recipients * size, recipients)``."""
        self.registry.register(FlowCollector("received", _by_name(self.received), "from clients"))
        self.registry.register(FlowCollector("sent", _by_name(self.sent), "to clients, once for each"))

        self.delivery_seconds = self._distribution(
            "collab_delivery_seconds", "From an update received to its frame written.", DELIVERY_SECONDS
        )
        self.flush_window_seconds = self._distribution(
            "collab_flush_window_seconds", "How long updates of a room were gathered.", WINDOW_SECONDS
        )
        self.flush_seconds = self._distribution("collab_flush_seconds", "Time of one flush.", WORK_SECONDS)
        self.flush_recipients = self._distribution(
            "collab_flush_recipients", "Members that one flush was sent to.", COUNTS
        )
        self.commit_seconds = self._distribution(
            "collab_commit_seconds", "Time of one commit.", STORE_SECONDS
        )
        self.commit_updates = self._distribution("collab_commit_updates", "Updates in one commit.", COUNTS)
        self.room_load_seconds = self._distribution(
            "collab_room_load_seconds", "Time to open a room.", STORE_SECONDS
        )
        self.compaction_seconds = self._distribution(
            "collab_compaction_seconds", "Time of one compaction.", STORE_SECONDS
        )
        self.view_seconds = self._distribution(
            "collab_view_seconds", "Time of one request to a view worker, waiting included.", STORE_SECONDS
        )
        self.loop_lag_seconds = self._distribution(
            "collab_loop_lag_seconds", "How late the event loop ran a timer.", PAUSE_SECONDS
        )
        self.gc_pause_seconds: Mapping[int, Distribution] = {n: Distribution(PAUSE_SECONDS) for n in range(3)}
        self.registry.register(
            DistributionCollector(
                "collab_gc_pause_seconds",
                "Pauses by the garbage collector.",
                {str(n): part for n, part in self.gc_pause_seconds.items()},
                "generation",
            )
        )

        self.accepted = self._counter("collab_connections_accepted", "Connections let in.")
        self._refused = self._counter("collab_connections_refused", "Connections not let in.", "reason")
        self._closed = self._counter("collab_connections_closed", "Connections ended.", "code", "by")
        self.load_level = self._gauge("collab_load_level", "0 normal, 1 new connections refused, 2 closing.")
        self.load_closed = self._counter("collab_load_closed", "Connections closed to get rid of load.")
        self._store_errors = self._counter("collab_store_errors", "Calls of the store that failed.", "call")
        self.resyncs = self._counter("collab_resyncs", "Slow members that got one difference and went on.")
        self.reads_paused = self._counter(
            "collab_reads_paused", "Connections held back for sending too fast."
        )
        self.stateless_missed = self._counter(
            "collab_stateless_missed", "Stateless messages that a member missed because its socket was full."
        )
        self.updates_known = self._counter("collab_updates_known", "Updates that brought nothing new.")
        self.rooms_evicted = self._counter("collab_rooms_evicted", "Quiet rooms saved and closed.")
        self._compactions = self._counter("collab_compactions", "Compactions of stored documents.", "outcome")
        self._view_failures = self._counter(
            "collab_view_failures", "Failed requests to view workers.", "reason"
        )
        self.audit_lines = self._counter("collab_audit_lines", "Lines of the audit log that were written.")
        self.audit_lost = self._counter("collab_audit_lost", "Lines of the audit log that were lost.")
        self.revocations_closed = self._counter(
            "collab_revocations_closed", "Sessions closed because their access was revoked."
        )
        self._admissions = self._counter("collab_admissions", "Questions who may enter a room.", "outcome")
        self._key_reads = self._counter("collab_key_reads", "Readings of key sets.", "outcome")
        self.keys = self._gauge("collab_keys", "Keys that tokens are verified with.")
        self._access_callbacks = self._counter(
            "collab_access_callbacks", "Questions to the application.", "outcome"
        )
        self.access_callback_seconds = self._distribution(
            "collab_access_callback_seconds", "Time of one question to the application.", STORE_SECONDS
        )
        self.access_callbacks_waiting = self._gauge(
            "collab_access_callbacks_waiting", "Questions to the application under way."
        )
        self.access_callback_cached = self._gauge(
            "collab_access_callback_cached", "Answers of the application that are kept."
        )
        for reason in Refusal:
            self._refused.labels(reason.value)

    def count_refused(self, reason: Refusal) -> None:
        """Count a connection that was not let in."""
        self._refused.labels(reason.value).inc()

    def count_closed(self, code: int, *, by_server: bool) -> None:
        """Count a connection's end. Codes in no table, which a client may choose, count as ``other``."""
        self._closed.labels(_CLOSE_CODES.get(code, "other"), "server" if by_server else "client").inc()

    def count_admission(self, outcome: str) -> None:
        """Count a question who may enter: ``admitted``, ``unauthenticated``, ``refused`` or ``busy``."""
        self._admissions.labels(outcome).inc()

    def count_key_read(self, *, done: bool) -> None:
        """Count a reading of a key set."""
        self._key_reads.labels("done" if done else "failed").inc()

    def count_access_callback(self, outcome: str) -> None:
        """Count a question to the application; ``outcome`` is one of the class's table."""
        self._access_callbacks.labels(outcome).inc()

    def count_store_error(self, call: str) -> None:
        """Count a failed call of the store; ``call`` is the name of the store's method."""
        self._store_errors.labels(call).inc()

    def count_compaction(self, outcome: str) -> None:
        """Count a compaction: ``done``, ``lost`` or ``failed``."""
        self._compactions.labels(outcome).inc()

    def count_view_failure(self, reason: str) -> None:
        """Count a failed request to a view worker; ``reason`` as in ``views.pool``."""
        self._view_failures.labels(reason).inc()

    def _measure_sharing(self) -> None:
        self.shared_rooms = self._gauge(
            "collab_shared_rooms", "Rooms that another node has spoken of lately."
        )
        self._syncs = self._counter("collab_node_syncs_total", "What nodes ask of each other.", "what")
        self.node_messages_refused = self._counter(
            "collab_node_messages_refused_total", "Messages of other nodes that could not be taken."
        )

    def count_sync(self, what: str) -> None:
        """Count what nodes ask of each other: ``asked``, ``answered``, ``spared`` or ``resynced``."""
        self._syncs.labels(what).inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format, to be sent as ``CONTENT_TYPE``."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(name, help_text, registry=self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _distribution(self, name: str, help_text: str, bounds: Sequence[float]) -> Distribution:
        distribution = Distribution(bounds)
        self.registry.register(DistributionCollector(name, help_text, {"": distribution}))
        return distribution
