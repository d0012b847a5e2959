"""A node as its operators see it. Reads what the parts know, and keeps nothing."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator

from collab_server.api.nodes import (
    LagBody,
    NodeBody,
    PeersBody,
    RoomBody,
    RoomsBody,
    SessionBody,
    SessionsBody,
    ShardBody,
    StandingBody,
)
from collab_server.bus.base import Bus
from collab_server.gateway.sessions import Session, Sessions
from collab_server.gateway.upgrade import WebSocketServer
from collab_server.hosting.host import Host
from collab_server.hosting.registry import Registry
from collab_server.version import version


class NodeInspection:
    """``api.nodes.Inspection`` of one node."""

    def __init__(self, registry: Registry, sessions: Sessions, sockets: WebSocketServer, bus: Bus) -> None:
        self._registry = registry
        self._sessions = sessions
        self._sockets = sockets
        self._bus = bus
        self._started = time.monotonic()

    def standing(self) -> StandingBody:
        """See the protocol."""
        bus = self._bus
        return StandingBody(
            name=bus.node.name,
            incarnation=bus.node.incarnation,
            version=version(),
            uptime_s=round(time.monotonic() - self._started, 3),
            rooms=self._registry.rooms_count,
            sessions=len(self._sessions),
            connections=len(self._sockets),
            is_shared=bus.is_shared,
            bus_trouble=bus.trouble,
        )

    def peers(self) -> PeersBody:
        """See the protocol."""
        this = self._bus.node
        return PeersBody(
            node=NodeBody(name=this.name, incarnation=this.incarnation),
            peers=[
                NodeBody(name=node.name, incarnation=node.incarnation) for node in sorted(self._bus.nodes())
            ],
        )

    def lag(self) -> LagBody:
        """See the protocol."""
        shards = self._bus.lag()
        return LagBody(
            shards=[
                ShardBody(
                    shard=shard,
                    delay_ms=round(shards[shard].delay_ms, 3),
                    entries_behind=shards[shard].entries_behind,
                )
                for shard in sorted(shards)
            ]
        )

    def rooms(self, after: str, prefix: str, limit: int) -> RoomsBody:
        """See the protocol."""
        hosts = self._registry.hosts
        names = heapq.nsmallest(
            limit, (host.name for host in hosts if host.name > after and host.name.startswith(prefix))
        )
        by_name = {host.name: host for host in hosts}
        return RoomsBody(
            rooms=[self._shown(by_name[name]) for name in names],
            next=names[-1] if len(names) == limit else None,
        )

    def room(self, name: str) -> RoomBody | None:
        """See the protocol."""
        host = self._registry.get(name)
        return None if host is None else self._shown(host)

    def sessions(self, room: str | None, user: str | None, limit: int) -> SessionsBody:
        """See the protocol."""
        found = list(self._found(room, user))
        # Sessions are kept in the order in which they came.
        return SessionsBody(sessions=[self._session(one) for one in found[:limit]], total=len(found))

    def _found(self, room: str | None, user: str | None) -> Iterator[Session]:
        if room is not None:
            return (
                one for one in self._sessions.of_room(room) if user is None or one.identity.user_id == user
            )
        return iter(self._sessions if user is None else self._sessions.of_user(user))

    def _shown(self, host: Host) -> RoomBody:
        log = host.room.log
        return RoomBody(
            room=host.name,
            members=len(host.peers),
            slow_members=host.slow_members_count,
            bytes=log.bytes_total,
            pending_bytes=log.pending_bytes,
            unsaved_bytes=host.journal_bytes,
            is_saved=host.is_saved and not host.room.has_edits_waiting,
            shard=self._bus.shard_of(host.name) if self._bus.is_shared else None,
            opened_at_ms=host.opened_at_ms,
        )

    def _session(self, session: Session) -> SessionBody:
        identity = session.identity
        return SessionBody(
            id=self._sessions.id_of(session),
            room=session.room,
            user=identity.user_id,
            session=identity.session_id,
            tenant=identity.tenant,
            role=session.admission.role.name.lower(),
            address=session.caller.address,
            dialect=session.dialect.value,
            since_ms=session.since_ms,
        )
