"""What each part of the server gets of the settings. One function a part, nothing else."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from dataclasses import replace

from collab_server.access.quotas import TenantQuotas
from collab_server.bus.base import NodeId
from collab_server.bus.settings import BusSettings
from collab_server.bus.urls import parse_bus_url
from collab_server.config import PresenceIdentity, Settings
from collab_server.gateway.sessions import Sessions
from collab_server.gateway.settings import GatewaySettings, TransportSettings
from collab_server.hosting.archive import ArchiveBounds
from collab_server.hosting.settings import (
    Ack,
    HistorySettings,
    HostingSettings,
    JournalSettings,
    SharingSettings,
)
from collab_server.room.settings import RoomSettings
from collab_server.telemetry.metrics import Metrics, Refusal
from collab_server.views.pool import ViewPool
from collab_server.ydoc.bounds import Bounds
from persistence.history import SegmentRule

_COMPACTION_TIMEOUT_S = 300.0
_COMPACTION_QUEUE_MAX = 64
_PATIENT_TIMEOUT_S = 120.0
_PATIENT_QUEUE_MAX = 16


def bounds(settings: Settings) -> Bounds:
    """What an update may be."""
    return Bounds(
        update_bytes_max=settings.frame_bytes_max,
        nesting_depth_max=settings.nesting_depth_max,
        state_vector_entries_max=settings.state_vector_entries_max,
        # Twice what a room takes in edits: who is full must still be able to delete.
        document_bytes_max=2 * settings.room_bytes_max,
        pending_bytes_max=settings.pending_bytes_max,
    )


def room(settings: Settings) -> RoomSettings:
    """The pace and the bounds of one room."""
    return RoomSettings(
        flush_window_max_ms=settings.flush_window_max_ms,
        awareness_window_ms=settings.awareness_window_ms,
        presence_grace_s=settings.presence_grace_s,
        presence_timeout_s=settings.presence_timeout_s,
        join_patience_ms=settings.join_patience_ms,
        members_max=settings.members_per_room_max,
        awareness_bytes_max=settings.awareness_bytes_max,
        awareness_state_bytes_max=settings.awareness_state_bytes_max,
        awareness_clients_max=settings.awareness_clients_max,
        tail_bytes_max=settings.room_tail_bytes_max,
        room_bytes_max=settings.room_bytes_max,
        bounds=bounds(settings),
    )


def hosting(settings: Settings) -> HostingSettings:
    """The pace and the bounds of all rooms of a node."""
    return HostingSettings(
        ack=Ack(settings.ack.value),
        rooms_max=settings.rooms_max,
        room_quiet_evict_s=settings.room_quiet_evict_s,
        held_bytes_max=settings.connection_buffered_bytes_max,
        compact_after_updates=settings.compact_after_updates,
        compact_after_bytes=settings.compact_after_bytes,
        checkpoint_after_s=settings.checkpoint_after_s if settings.history_retention_days else math.inf,
        compact_in_worker_bytes=settings.compact_in_worker_bytes,
        store_notice_poll_ms=settings.store_notice_poll_ms,
        store_timeout_s=settings.store_timeout_s,
        failures_until_unready=settings.store_failures_until_unready,
    )


def sharing(settings: Settings) -> SharingSettings:
    """The pace and the bounds of what nodes tell each other of rooms."""
    return SharingSettings(
        anti_entropy_interval_s=settings.anti_entropy_interval_s,
        unproven_bytes_max=settings.unproven_bytes_max,
        opening_bytes_max=settings.opening_bytes_max,
        sync_answers_max_per_s=settings.sync_answers_max_per_s,
        resync_rooms_max_per_s=settings.resync_rooms_max_per_s,
        store_timeout_s=settings.store_timeout_s,
    )


def history(settings: Settings) -> HistorySettings:
    """How much history there is, and what may be asked of it."""
    return HistorySettings(
        rule=SegmentRule(settings.checkpoint_after_updates, round(settings.checkpoint_after_s * 1000)),
        retention_days=settings.history_retention_days,
        versions_max=settings.versions_per_room_max,
        fold_in_worker_bytes=settings.compact_in_worker_bytes,
        settle_timeout_s=settings.store_timeout_s,
    )


def archive_bounds(settings: Settings) -> ArchiveBounds:
    """What an archive may hold."""
    return ArchiveBounds(
        bytes_max=settings.archive_bytes_max,
        room_name_bytes_max=settings.room_name_bytes_max,
        document=replace(
            bounds(settings),
            update_bytes_max=settings.room_bytes_max,
            update_parts_max=settings.room_bytes_max,
        ),
    )


def patient_pool(settings: Settings) -> ViewPool:
    """A worker for restores and archives, which may take long and hold up nobody who looks at a document."""
    return ViewPool(
        1,
        timeout_s=_PATIENT_TIMEOUT_S,
        memory_bytes_max=settings.view_memory_bytes_max,
        queue_max=_PATIENT_QUEUE_MAX,
    )


def journal(settings: Settings) -> JournalSettings:
    """The bounds of the way into the store."""
    return JournalSettings(
        journal_bytes_max=settings.journal_bytes_max,
        room_journal_bytes_max=settings.room_buffered_bytes_max,
        stall_s=settings.store_timeout_s,
        commit_interval_ms=settings.commit_interval_ms,
        failures_until_unready=settings.store_failures_until_unready,
    )


def gateway(settings: Settings) -> GatewaySettings:
    """The bounds of one connection, in either dialect."""
    return GatewaySettings(
        frame_bytes_max=settings.frame_bytes_max,
        room_name_bytes_max=settings.room_name_bytes_max,
        message_rate_max_per_s=settings.message_rate_max_per_s,
        message_burst_max=settings.message_burst_max,
        message_flood_max_s=settings.message_flood_max_s,
        silence_timeout_s=settings.silence_timeout_s,
        auth_timeout_s=settings.auth_timeout_s,
        unauthenticated_bytes_max=settings.unauthenticated_bytes_max,
        unauthenticated_messages_max=settings.unauthenticated_messages_max,
        unauthenticated_documents_max=settings.unauthenticated_documents_max,
        documents_per_connection_max=settings.documents_per_connection_max,
        stateless_bytes_max=settings.stateless_bytes_max,
        keepalive_s=settings.keepalive_s,
        stamps_presence=settings.presence_identity is PresenceIdentity.STAMP,
    )


def sessions(settings: Settings, metrics: Metrics, wall_clock_ms: Callable[[], int], node: str) -> Sessions:
    """Who is in which room, and until when."""
    return Sessions(
        settings.sessions_max,
        expiry_notice_s=settings.token_expiry_notice_s,
        node=node,
        quotas=TenantQuotas(
            settings.tenant_rooms_max,
            settings.tenant_members_max,
            on_refused=lambda: metrics.count_refused(Refusal.TENANT),
        ),
        wall_clock_ms=wall_clock_ms,
    )


def view_pool(settings: Settings, metrics: Metrics) -> ViewPool:
    """Workers for those who look at documents."""
    return ViewPool(
        settings.view_workers,
        timeout_s=settings.view_timeout_s,
        memory_bytes_max=settings.view_memory_bytes_max,
        queue_max=settings.view_queue_max,
        on_done=metrics.view_seconds.observe,
        on_failed=metrics.count_view_failure,
    )


def bus(settings: Settings) -> BusSettings | None:
    """Where the bus is, its pace and its bounds; None for a node that is alone.

    Raises:
        BusConfigError: The address is none.
    """
    if settings.bus is None:
        return None
    return BusSettings(
        parse_bus_url(settings.bus),
        prefix=settings.bus_prefix,
        shards_count=settings.bus_shards,
        stream_entries_max_approx=settings.bus_stream_entries_max_approx,
        stream_age_max_s=settings.bus_stream_age_max_s,
        entry_bytes_max=settings.bus_entry_bytes_max,
        queue_bytes_max=settings.bus_queue_bytes_max,
        heartbeat_s=settings.bus_heartbeat_s,
        node_timeout_s=settings.bus_node_timeout_s,
        timeout_s=settings.bus_timeout_s,
    )


def node_id(settings: Settings, worker: str | None, *, incarnation: int, token: str) -> NodeId:
    """Who this node is. ``worker`` tells it from the other processes that have the same settings."""
    name = settings.node_name or f"{socket.gethostname()}-{os.getpid()}-{token}"
    return NodeId(f"{name}-{worker}" if worker and settings.node_name else name, incarnation)


def compaction_pool(settings: Settings) -> ViewPool:
    """A worker of its own for compaction, so that nobody who looks at documents can hold it up."""
    return ViewPool(
        1,
        timeout_s=_COMPACTION_TIMEOUT_S,
        memory_bytes_max=settings.view_memory_bytes_max,
        queue_max=_COMPACTION_QUEUE_MAX,
    )


def transport(settings: Settings) -> TransportSettings:
    """The bounds of one socket."""
    return TransportSettings(
        message_bytes_max=settings.frame_bytes_max,
        head_timeout_s=settings.handshake_timeout_s,
        http_body_bytes_min_per_s=settings.http_body_bytes_min_per_s,
        connections_max=settings.connections_max,
        http_connections_max=settings.http_connections_max,
        ping_interval_s=settings.ping_interval_s,
        pong_timeout_s=settings.pong_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        close_timeout_s=settings.close_timeout_s,
        send_high_water_bytes=settings.connection_buffered_bytes_high,
        send_low_water_bytes=settings.connection_buffered_bytes_high // 4,
        stall_timeout_s=settings.connection_slow_max_s,
        send_buffer_bytes_max=settings.connection_buffered_bytes_max,
        deflate=settings.compress_level > 0,
        deflate_from_bytes=settings.compress_min_bytes,
        deflate_level=max(1, settings.compress_level),
    )
