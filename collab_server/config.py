"""The settings: every one typed, bounded, with a default and a line that says what it does.

This file is the list; ``settings_sources`` reads a file, the environment and the flags into it, once. Nothing
else in the server reads the environment. Names are flat, and carry their unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, get_origin
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from collab_server.access.callers import ProxyHeader, check_networks
from collab_server.access.origins import check_patterns

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SECRET_BYTES_MIN = 32
"""What HS256 needs of a key (RFC 7518 section 3.2)."""

ADMIN_TOKEN_CHARACTERS_MIN = 16

_SIZE = re.compile(r"\s*(\d+)\s*([kmg]i?b?|b)?\s*", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB}


def parse_size(value: object) -> object:
    """Bytes from ``16777216``, ``"16MiB"`` or ``"16m"`` (powers of 1024); other values are passed on."""
    if not isinstance(value, str):
        return value
    matched = _SIZE.fullmatch(value)
    if matched is None:
        return value
    unit = (matched[2] or "").lower()
    return int(matched[1]) * _SIZE_FACTORS[unit[:1]]


def parse_list(value: object) -> object:
    """Texts from ``"a, b"``, or from several of these; blank ones are dropped, other values are passed on."""
    if isinstance(value, str):
        value = (value,)
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return tuple(part.strip() for one in value for part in one.split(",") if part.strip())
    return value


Size = Annotated[int, BeforeValidator(parse_size)]
Texts = Annotated[tuple[str, ...], BeforeValidator(parse_list)]
"""Comma-separated, a list in TOML, or a flag that is given more than once."""
Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Milliseconds = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on a line is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Ack(StrEnum):
    """When an edit is acknowledged."""

    COMMITTED = "committed"
    APPLIED = "applied"


class PresenceIdentity(StrEnum):
    """Whether names in presence are those of the tokens."""

    OFF = "off"
    STAMP = "stamp"


class RoleName(StrEnum):
    """What one may do in a room; a later one may do all that an earlier one may."""

    VIEWER = "viewer"
    COMMENTER = "commenter"
    EDITOR = "editor"
    OWNER = "owner"


class Settings(BaseModel):
    """What is in force. Immutable; made by ``settings_sources.load`` or, in tests, by keyword."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    # Addresses
    host: str = Field("127.0.0.1", min_length=1)
    """Address of the public port: WebSockets, the HTTP API, the playground."""
    port: Port = 4000
    """Public port; 0 takes any free one."""
    ops_host: str = Field("127.0.0.1", min_length=1)
    """Address of the operations port: /health, /ready, /metrics."""
    ops_port: Port = 4001
    """Operations port; 0 takes any free one. Worker N, counted from 0, has the N-th port after it."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that serve, all on the one port; more than one share rooms through bus and store."""
    ports_from: int | None = Field(None, ge=0, le=65535)
    """Gives each worker a public port of its own, from this one upwards, in place of port."""
    accept_backlog_max: int = Field(2048, ge=1, le=65_535)
    """Connections that the kernel holds until they are accepted."""
    tls_cert: Path | None = None
    """PEM file with the certificate chain for the public port; needs tls_key."""
    tls_key: Path | None = None
    """PEM file with the private key of tls_cert."""
    playground: bool = True
    """Serve the playground page at /playground."""
    documents_api: bool = True
    """Serve the documents API under /v1 on the public port."""

    # Access
    jwt_secret: str | None = Field(None, min_length=1, repr=False)
    """Secret that tokens are signed with by HS256: 32 bytes or more, or any on loopback; shown to nobody."""
    jwt_secret_file: Path | None = None
    """File that holds such a secret; a line end behind it does not count."""
    jwt_key: Texts = ()
    """PEM files with public keys or certificates: RSA (RS256), P-256 (ES256), Ed25519 (EdDSA)."""
    jwks: Texts = Field((), repr=False)
    """Where JSON Web Key Sets are: https:// URLs (http:// on this machine), or files."""
    jwks_refresh_s: float = Field(300, ge=1, le=86_400, allow_inf_nan=False)
    """How often the key sets are read again."""
    jwks_unknown_refresh_s: float = Field(10, ge=1, le=3600, allow_inf_nan=False)
    """A token with an unknown key id has them read at once, but not more often than this."""
    jwks_bytes_max: Size = Field(256 * KIB, ge=KIB, le=16 * MIB)
    """Size of one key set; a larger one is not taken."""
    jwks_timeout_s: Seconds = 5.0
    """How long reading a key set may take."""
    jwt_issuer: str | None = Field(None, min_length=1)
    """What a token's iss must be; any if not set."""
    jwt_audience: Texts = ()
    """One of these must be in a token's aud; any if none is set."""
    jwt_clock_skew_s: float = Field(5, ge=0, le=600, allow_inf_nan=False)
    """How far the clock of who issues tokens may differ from ours."""
    jwt_exp_required: bool = True
    """Refuse tokens that never run out."""
    token_bytes_max: Size = Field(8 * KIB, ge=256, le=64 * KIB)
    """Length of a token; a longer one is not looked at."""
    access_callback: str | None = Field(None, min_length=1, repr=False)
    """URL of the application that is asked who may do what: https://, or http:// on this machine."""
    access_callback_timeout_s: Seconds = 3.0
    """How long the application may take to answer, waiting for a free connection included."""
    access_callback_cache_s: float = Field(30, ge=0, le=3600, allow_inf_nan=False)
    """How long its answer holds for the same token, room and address; 0 asks each time."""
    access_callback_cache_max: Count = 10_000
    """Answers kept at once; the oldest are dropped."""
    access_callback_concurrent_max: int = Field(64, ge=1, le=10_000)
    """Questions to the application under way at once; ten times as many may wait, further ones get 1013."""
    access_callback_bytes_max: Size = Field(64 * KIB, ge=256, le=1 * MIB)
    """Size of its answer; a larger one counts as a failure."""
    access_callback_failures_max: int = Field(5, ge=1, le=1000)
    """After so many failures in a row it is not asked for access_callback_pause_s."""
    access_callback_pause_s: Seconds = 10.0
    """How long an application that fails is left alone before one question tries it again."""
    access_http: bool = False
    """Allow http:// to other machines for jwks and access_callback, on a network that is trusted."""
    access_ca: Path | None = None
    """PEM file with the authorities that https of jwks and access_callback is checked against."""
    allow_anonymous: bool = False
    """Let in who has no token; without any key, let in everybody, from anywhere."""
    anonymous_role: RoleName = RoleName.EDITOR
    """What those without a token may do with allow_anonymous: viewer, commenter, editor, owner."""

    presence_identity: PresenceIdentity = PresenceIdentity.OFF
    """stamp puts user.id and user.name of the token into presence, so that nobody appears as another."""
    admin_token: str | None = Field(None, min_length=1, repr=False)
    """Token of 16 characters or more that may do everything over HTTP, and revoke; shown to nobody."""
    revocation_keep_days: int = Field(400, ge=1, le=36_500)
    """How long a revocation holds: no token may live longer."""
    revocations_max: Count = 100_000
    """Users, sessions and rooms whose tokens are revoked; past it a further revocation is refused."""

    # Where from, and how much: 0 is no limit
    allowed_origins: Texts = ()
    """Pages that may connect (https://app.example.com, https://*.example.com, *); see docs/access.md."""
    trusted_proxies: Texts = ()
    """Addresses and networks of proxies that are believed for whom they speak, such as 10.0.0.0/8."""
    proxy_header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR
    """The one header that these proxies write: x-forwarded-for or forwarded."""
    connections_per_address_max: int = Field(5_000, ge=0, le=100_000_000)
    """Connections of one address (IPv6: /64) at once; past it a further one is closed with 4429."""
    connection_rate_per_address_max_per_s: float = Field(200, ge=0, le=10_000_000, allow_inf_nan=False)
    """New connections a second of one address on average; above it they are closed with 4429."""
    connection_burst_per_address_max: Count = 5_000
    """New connections that one address may make at once."""
    http_connections_max: Count = 10_000
    """Connections that are no WebSockets, or not yet, at once; past it a further one is cut."""
    http_rate_per_address_max_per_s: float = Field(0, ge=0, le=10_000_000, allow_inf_nan=False)
    """HTTP requests a second of one address, ten times as many at once; above it they get 429."""
    wrong_tokens_per_address_max_per_s: float = Field(100, ge=0, le=10_000_000, allow_inf_nan=False)
    """Wrong tokens a second of one address; above it none of its tokens is checked: 4429."""
    wrong_tokens_burst_max: Count = 2_000
    """Wrong tokens that one address may bring at once."""
    message_rate_per_address_max_per_s: float = Field(20_000, ge=0, le=10_000_000, allow_inf_nan=False)
    """Messages a second of all connections of one address; above it they are read more slowly."""
    message_rate_per_user_max_per_s: float = Field(5_000, ge=0, le=10_000_000, allow_inf_nan=False)
    """Messages a second of all connections of one user; above it they are read more slowly."""
    message_rate_per_room_max_per_s: float = Field(20_000, ge=0, le=10_000_000, allow_inf_nan=False)
    """Messages a second into one room; above it those who send them are read more slowly."""
    message_burst_shared_s: Seconds = 10.0
    """An address, user or room that was quiet may send what its rate allows in this time at once."""
    limit_entries_max: Count = 50_000
    """Addresses, users and rooms that are remembered for each limit; the quietest are forgotten first."""
    limit_share_interval_ms: float = Field(1_000, ge=100, le=60_000, allow_inf_nan=False)
    """How often nodes that share a Redis tell each other what was used of these rates."""
    limit_share_keys_max: Count = 2_000
    """Of the addresses, users and rooms of an interval, the busiest are shared with other nodes."""
    tenant_rooms_max: int = Field(0, ge=0, le=100_000_000)
    """Documents that the members of one tenant have open on this node at once; past it 1013."""
    tenant_members_max: int = Field(0, ge=0, le=100_000_000)
    """Connections into documents of one tenant on this node at once; past it 1013."""

    # Too much to do: new connections are refused, then the least important are closed; 0 switches one off
    shed_cpu_percent: float = Field(95, ge=0, le=100, allow_inf_nan=False)
    """CPU of the event loop, in percent of a core over ten seconds, from which on it is too much."""
    shed_loop_lag_ms: float = Field(1_000, ge=0, le=60_000, allow_inf_nan=False)
    """Lag of the event loop, over ten seconds, from which on it is too much."""
    shed_memory_percent: float = Field(85, ge=0, le=100, allow_inf_nan=False)
    """Memory of the process, in percent of memory_limit_bytes, from which on it is too much."""
    memory_limit_bytes: Size = Field(0, ge=0, le=1024 * GIB)
    """Memory that the process may use; 0: what its container, or else the machine, has."""
    shed_connections_percent: float = Field(100, ge=0, le=100, allow_inf_nan=False)
    """Connections, in percent of connections_max, from which on it is too much."""
    shed_patience_s: Seconds = 30.0
    """How long only new connections are refused, before others are closed with 1013."""
    shed_closes_max_per_s: Count = 50
    """Connections that are closed in a second at most to get rid of load."""

    # Logs
    log_format: LogFormat = LogFormat.TEXT
    """text for people, json for collectors: one object a line."""
    log_level: LogLevel = LogLevel.INFO
    """From which level on a line is logged: debug, info, warning, error."""

    audit_log: str = Field("off", min_length=1)
    """Who came in, was sent away, restored, deleted, exported: off, stdout, stderr, or a file's path."""
    audit_queue_max: Count = 10_000
    """Lines of the audit log that may wait to be written; past it they are lost, and counted."""

    # The store
    store: str = Field("sqlite:///collab-data/rooms.sqlite3", min_length=1)
    """Where documents are kept: sqlite:///PATH (relative; four slashes for an absolute path) or memory:"""
    store_timeout_s: Seconds = 10.0
    """How long one call of the store may take before it counts as failed."""
    store_failures_until_unready: int = Field(1, ge=1, le=1000)
    """Failed commits, or pings, in a row that turn /ready red; the first that succeeds heals it."""
    store_notice_poll_ms: float = Field(1000, ge=10, le=60_000, allow_inf_nan=False)
    """How often the store is asked for deletions, imports and revocations that were made past this server."""
    ack: Ack = Ack.COMMITTED
    """When an edit is acknowledged: committed (in the store) or applied (faster; a crash may lose it)."""
    commit_interval_ms: Milliseconds = 25
    """The shortest time between two commits: a longer one costs less CPU, and acknowledgements come later."""
    journal_bytes_max: Size = Field(64 * MIB, ge=64 * KIB, le=16 * GIB)
    """Edits of all rooms that may wait for the store, in bytes; past it edits are refused with 4503."""
    room_buffered_bytes_max: Size = Field(10 * MIB, ge=4 * KIB, le=16 * GIB)
    """Edits of one room that may wait for the store, in bytes; past it they are refused with 4503."""
    compact_after_updates: Count = 500
    """A document is compacted when so many stored updates have gathered."""
    compact_after_bytes: Size = Field(4 * MIB, ge=4 * KIB, le=16 * GIB)
    """A document is compacted when its stored updates have grown to so many bytes."""
    store_replica: str | None = Field(None, min_length=1)
    """A read-only copy of the store, for history and exports where a moment's delay does no harm."""
    migrate_at_start: bool = True
    """Bring the store's schema up to date at start; false refuses an old one (see collab-server migrate)."""

    # Other nodes
    bus: str | None = Field(None, min_length=1)
    """Connects nodes: redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss:// or redis+sentinel://"""
    node_name: str | None = Field(None, min_length=1, max_length=200)
    """What other nodes call this one; host name, process and a random number if not given."""
    bus_prefix: str = Field("collab", min_length=1, max_length=100)
    """What the names of all keys in Redis begin with; the same on every node of one system."""
    bus_shards: int = Field(32, ge=1, le=1024)
    """Streams that rooms are spread over; the same on every node."""
    bus_stream_entries_max_approx: int = Field(10_000, ge=10, le=10_000_000)
    """Entries that one stream keeps, about; a node that is further behind syncs its rooms instead."""
    bus_stream_age_max_s: Seconds = 30.0
    """Entries older than this are removed, even where there are few."""
    bus_entry_bytes_max: Size = Field(256 * KIB, ge=KIB, le=64 * MIB)
    """Size from which on messages go into a further entry; those of one moment stay together."""
    bus_queue_bytes_max: Size = Field(64 * MIB, ge=64 * KIB, le=16 * GIB)
    """Messages to other nodes that may wait for Redis; past it some are lost, and their rooms sync later."""
    bus_heartbeat_s: float = Field(2.5, ge=0.1, le=60, allow_inf_nan=False)
    """How often a node says that it is alive."""
    bus_node_timeout_s: float = Field(10.0, ge=0.5, le=600, allow_inf_nan=False)
    """A node that was not heard of for this long is gone, and its users with it; at least 3 heartbeats."""
    bus_timeout_s: Seconds = 5.0
    """How long Redis may be silent before its connection is given up."""
    anti_entropy_interval_s: Seconds = 30.0
    """How often a room that other nodes have open too is compared with theirs."""
    sync_answers_max_per_s: float = Field(10.0, gt=0, le=1_000, allow_inf_nan=False)
    """Answers of one room to nodes that lack something of it; requests share them."""
    resync_rooms_max_per_s: float = Field(200.0, gt=0, le=100_000, allow_inf_nan=False)
    """Rooms that are read from the store again per second after messages between nodes were lost."""
    opening_bytes_max: Size = Field(4 * MIB, ge=KIB, le=1 * GIB)
    """Messages of other nodes that are kept for a room while it is being opened."""
    unproven_bytes_max: Size = Field(1 * MIB, ge=KIB, le=1 * GIB)
    """Edits of other nodes in one room that they have not stored yet; past it this node stores them too."""
    presence_answer_ms: float = Field(300.0, ge=1, le=10_000, allow_inf_nan=False)
    """How long other nodes may take to say who is in a room that is not open here."""

    # History
    checkpoint_after_s: Seconds = 300.0
    """What was written becomes an automatic version of its document after this time."""
    checkpoint_after_updates: int = Field(10, ge=1, le=100_000)
    """An automatic version holds so many committed groups of edits at most."""
    history_retention_days: int = Field(90, ge=0, le=36_500)
    """Versions older than this are dropped, except pinned ones; 0 keeps no history."""
    versions_per_room_max: Count = 1_000
    """Named versions of one document."""
    archive_bytes_max: Size = Field(128 * MIB, ge=64 * KIB, le=4 * GIB)
    """Size of one document with all its history in an archive, unpacked; larger ones are refused."""

    # Rooms
    rooms_max: Count = 20_000
    """Rooms open at once; past it a connection to a further room is closed with 1013."""
    members_per_room_max: Count = 2_000
    """Connections in one room; past it a further one is closed with 1013."""
    room_name_bytes_max: int = Field(512, ge=1, le=4096)
    """Length of a room's name in bytes of UTF-8."""
    room_bytes_max: Size = Field(64 * MIB, ge=4 * KIB, le=4 * GIB)
    """Size of one document; an edit that would pass it closes its sender with 4413."""
    room_tail_bytes_max: Size = Field(256 * KIB, ge=KIB, le=1 * GIB)
    """Recent edits that a room keeps apart before they are squashed into its base."""
    pending_bytes_max: Size = Field(4 * MIB, ge=KIB, le=1 * GIB)
    """Updates of one room whose earlier parts are missing; past it their sender is closed with 4413."""
    nesting_depth_max: int = Field(500, ge=8, le=5_000)
    """How deep types and values may be nested in a document; deeper is refused with 4400."""
    state_vector_entries_max: Count = 100_000
    """Entries of a state vector that a client may send."""
    room_quiet_evict_s: Seconds = 60.0
    """A room that nobody is in is saved and closed after this time."""
    join_patience_ms: Milliseconds = 1000
    """How long live updates are held back for a new member until it asks for the document."""

    # Windows
    flush_window_max_ms: Milliseconds = 20
    """The longest that updates of a busy room are gathered before they are sent on; 0 sends each at once."""
    awareness_window_ms: Milliseconds = 50
    """The shortest time between two awareness broadcasts of a room."""
    awareness_bytes_max: Size = Field(1 * MIB, ge=KIB, le=256 * MIB)
    """Awareness states of one room together, and of one message; past it the sender is closed with 4413."""
    awareness_state_bytes_max: Size = Field(64 * KIB, ge=256, le=16 * MIB)
    """One client's awareness state; past it the sender is closed with 4413."""
    awareness_clients_max: Count = 4_000
    """Awareness states in one room; past it the sender is closed with 4413."""
    presence_grace_s: Seconds = 30.0
    """After a connection broke without goodbye, how long its user is still shown."""
    presence_timeout_s: Seconds = 30.0
    """An awareness state that its client has not renewed for this long is removed."""

    # Connections
    connections_max: Count = 20_000
    """Connections at once; past it a further one is closed with 1013."""
    frame_bytes_max: Size = Field(16 * MIB, ge=KIB, le=1 * GIB)
    """Size of one message after joining and inflating; past it the connection is closed with 1009."""
    connection_buffered_bytes_high: Size = Field(256 * KIB, ge=4 * KIB, le=1 * GIB)
    """Unsent bytes of one connection from which on it gets nothing live, but one difference once drained."""
    connection_buffered_bytes_max: Size = Field(1 * MIB, ge=4 * KIB, le=4 * GIB)
    """Unsent bytes of one connection past which it is closed with 1013; one whole document aside."""
    connection_slow_max_s: Seconds = 60.0
    """A connection whose unsent bytes have not shrunk for this long is closed with 1013; over HTTP, cut."""
    message_rate_max_per_s: float = Field(1_000, gt=0, le=10_000_000, allow_inf_nan=False)
    """Messages a second that one connection may send on average; above it, it is read more slowly."""
    message_burst_max: Count = 20_000
    """Messages that one connection may send at once before message_rate_max_per_s holds it back."""
    message_flood_max_s: Seconds = 10.0
    """A connection that has been held back for this long without a pause is closed with 4429."""
    handshake_timeout_s: Seconds = 10.0
    """How long the head of a request may take, that of a WebSocket too."""
    http_body_bytes_min_per_s: float = Field(1024, ge=0, le=10_000_000, allow_inf_nan=False)
    """A request whose body comes more slowly than this, over handshake_timeout_s, is cut."""
    silence_timeout_s: Seconds = 30.0
    """A connection that has not sent one message this long after opening is closed with 4408."""
    auth_timeout_s: Seconds = 10.0
    """A Hocuspocus connection that was not let into any document within this is closed with 4408."""
    unauthenticated_bytes_max: Size = Field(1 * MIB, ge=KIB, le=1 * GIB)
    """Frames of one Hocuspocus connection that may wait for its documents to open; without a token: 4413."""
    unauthenticated_messages_max: Count = 1_000
    """The same, as a count of frames."""
    unauthenticated_documents_max: Count = 100
    """Documents of one Hocuspocus connection that may wait to be let in; without a token: 4413."""
    documents_per_connection_max: Count = 1_000
    """Documents of one Hocuspocus connection at once; a further one is denied."""
    stateless_bytes_max: Size = Field(64 * KIB, ge=KIB, le=16 * MIB)
    """A stateless message; past it its sender loses the document."""
    token_expiry_notice_s: Seconds = 30.0
    """How long before a token runs out a Hocuspocus client is asked for a new one."""
    sessions_max: Count = 100_000
    """Stays of clients in rooms at once (one Hocuspocus connection may have many); past it: 1013."""
    idle_timeout_s: Seconds = 300.0
    """A connection without any message of its client for this long is closed with 4408."""
    keepalive_s: float = Field(20.0, gt=0, le=29, allow_inf_nan=False)
    """A connection that got nothing for this long gets a small frame: y-websocket gives up after 30 s."""
    ping_interval_s: Seconds = 25.0
    """How often a connection is pinged when nothing came from it."""
    pong_timeout_s: Seconds = 5.0
    """How long a pong may take before the connection is dropped."""
    close_timeout_s: Seconds = 5.0
    """How long the other side may take to answer a close frame."""
    compress_min_bytes: Size = Field(1024, ge=0, le=1 * GIB)
    """Messages from this size on are compressed for connections that can take it."""
    compress_level: int = Field(6, ge=0, le=9)
    """Level of permessage-deflate, 1 to 9; 0 turns compression off."""

    # Views: documents as JSON, and compaction of large ones, in worker processes
    view_workers: int = Field(1, ge=1, le=64)
    """Worker processes that turn documents into JSON and compact large ones."""
    view_queue_max: Count = 64
    """Requests that may wait for a worker; past it they are refused with 503."""
    view_timeout_s: Seconds = 10.0
    """How long one request may keep a worker before the worker is killed and replaced."""
    view_memory_bytes_max: Size = Field(1 * GIB, ge=256 * MIB, le=256 * GIB)
    """Address space of one worker; a request that needs more fails."""
    compact_in_worker_bytes: Size = Field(16 * KIB, ge=0, le=4 * GIB)
    """Documents from this size on are compacted in a worker process, smaller ones in place."""

    # The process
    drain_s: Seconds = 30.0
    """How long a shutdown may take: clients are told to come back, in groups, and everything is saved."""
    drain_notice_s: float = Field(0, ge=0, le=3600, allow_inf_nan=False)
    """How long a leaving node is unready and serves on, so that a load balancer sees it; before drain_s."""
    drain_clients_min_per_s: float = Field(200, gt=0, le=1_000_000, allow_inf_nan=False)
    """A leaving node tells at least so many clients a second to come back, so that few do not take long."""
    loop_lag_interval_ms: float = Field(250, ge=10, le=60_000, allow_inf_nan=False)
    """How often the lag of the event loop is measured."""
    gc_full_interval_s: Seconds = 300.0
    """How often the whole heap is garbage-collected, at a moment when the process is quiet."""
    gc_pause_max_ms: float = Field(10, gt=0, le=60_000, allow_inf_nan=False)
    """A collection of the whole heap that would stop the process for longer is put off, for a day at most."""

    @property
    def has_keys(self) -> bool:
        """Whether there is anything that a token can be checked by."""
        return bool(
            self.jwt_secret or self.jwt_secret_file or self.jwt_key or self.jwks or self.access_callback
        )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_key is None else ("tls_key", "tls_cert")
            raise ValueError(f"{given} is set but {missing} is not: TLS needs both")
        for key, check in (("allowed_origins", check_patterns), ("trusted_proxies", check_networks)):
            try:
                check(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        if self.admin_token is not None and len(self.admin_token) < ADMIN_TOKEN_CHARACTERS_MIN:
            raise ValueError(
                f"admin_token has {len(self.admin_token)} characters, and needs {ADMIN_TOKEN_CHARACTERS_MIN}"
                " or more, or it can be guessed (`openssl rand -hex 32` makes one)"
            )
        if self.bus_node_timeout_s < 3 * self.bus_heartbeat_s:
            raise ValueError(
                f"bus_node_timeout_s ({self.bus_node_timeout_s:g}) must be at least three times "
                f"bus_heartbeat_s ({self.bus_heartbeat_s:g})"
            )
        for lower, upper in (
            ("connection_buffered_bytes_high", "connection_buffered_bytes_max"),
            ("room_buffered_bytes_max", "journal_bytes_max"),
        ):
            if getattr(self, lower) > getattr(self, upper):
                raise ValueError(
                    f"{lower} ({getattr(self, lower)}) must not be more than {upper} ({getattr(self, upper)})"
                )
        return self


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started server can be reached. URLs without a slash at the end."""

    http_url: str
    """Public port, for example ``http://127.0.0.1:4000``."""
    ws_url: str
    """The same for WebSockets; a room's address is ``ws_url + "/" + room``."""
    ops_url: str
    """Operations port."""


def masked_url(url: str) -> str:
    """The URL with its password, and every value in its query that may be one, shown as ``***``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.split(":", 1)[0] + ":***"
    netloc = parts.netloc
    if "@" in netloc:
        user, _, place = netloc.rpartition("@")
        if ":" in user:
            netloc = f"{user.split(':', 1)[0]}:***@{place}"
    query = re.sub(r"(?i)((?:password|passwd|secret|token|sslpassword)=)[^&]*", r"\1***", parts.query)
    if netloc == parts.netloc and query == parts.query:
        return url
    return urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment))


URL_KEYS = ("store", "store_replica", "bus", "jwks", "access_callback")
"""Settings whose value may hold a password."""
SECRET_KEYS = ("jwt_secret", "admin_token")
"""Settings whose value is a secret as a whole."""


def masked(key: str, value: str) -> str:
    """One text of a setting, as far as it may be shown."""
    if key in SECRET_KEYS:
        return "***"
    return masked_url(value) if key in URL_KEYS else value


def shown(key: str, value: Any) -> str:
    """A setting's value as a person reads it, with secrets masked."""
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(masked(key, one) for one in value) or "(none)"
    if key in SECRET_KEYS or key in URL_KEYS:
        return masked(key, str(value))
    if isinstance(value, int) and "bytes" in key:
        for name, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
            if value and value % factor == 0:
                return f"{value // factor} {name}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def plain(key: str, value: Any) -> str | int | float | bool | list[str] | None:
    """A setting's value for JSON, with secrets masked."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return [masked(key, one) for one in value]
    if isinstance(value, (bool, int, float)):
        return value
    return masked(key, str(value))


def too_short(secret: bytes) -> str:
    """What is wrong with a secret of less than ``SECRET_BYTES_MIN`` bytes."""
    return (
        f"has {len(secret)} bytes, and HS256 needs {SECRET_BYTES_MIN} or more, or it can be guessed "
        "(`openssl rand -hex 32` makes one)"
    )


def is_list(key: str) -> bool:
    """Whether a setting holds several texts."""
    return get_origin(Settings.model_fields[key].annotation) is tuple


def defaults() -> Mapping[str, Any]:
    """Every key with its default, in the order in which the settings are documented."""
    return {key: field.default for key, field in Settings.model_fields.items()}
