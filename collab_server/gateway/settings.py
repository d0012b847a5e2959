"""The numbers of the transport. Every bound of a connection is here, with its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """What one WebSocket connection may cost, and how long it may be silent.

    With the defaults a peer that vanished is noticed at most 55 s after its last byte: a quiet connection is
    visited every ``ping_interval_s``, so it takes up to two visits until a ping goes out unanswered.
    """

    message_bytes_max: int = 16 * MIB
    """A message from a client, joined and inflated. A longer one closes with 1009."""

    fragments_max: int = 8192
    """Frames that one message may come in. More close with 1009."""

    head_bytes_max: int = 16 * KIB
    """Request line and headers of one HTTP request. A longer head is refused with 431."""

    request_line_bytes_max: int = 8 * KIB
    """The request target alone. A longer one is refused with 414."""

    head_timeout_s: float = 10.0
    """From the connection (or the first byte of a later request) to the end of the request head."""

    http_body_bytes_min_per_s: float = 1 * KIB
    """A body of an HTTP request that comes more slowly, over ``head_timeout_s``, ends the connection."""

    connections_max: int = 20_000
    """Open WebSocket connections. The next one is accepted and closed with 1013: it comes back later.

    Those that are being refused like this are bounded too: past twice this number the answer is 503."""

    http_connections_max: int = 10_000
    """Open connections that are no WebSockets (yet). The next one is ended at once."""

    ping_interval_s: float = 25.0
    """A connection that was quiet for this long is pinged. 0 = no pings."""

    pong_timeout_s: float = 5.0
    """After a ping something (a pong or any other frame) must come within this time."""

    idle_timeout_s: float = 300.0
    """A client that sent no data message for this long is closed with 4408. 0 = no limit."""

    close_timeout_s: float = 5.0
    """From our close frame to the end of the connection. After it the connection is cut."""

    send_high_water_bytes: int = 256 * KIB
    """Waiting bytes above this call ``on_full``."""

    send_low_water_bytes: int = 64 * KIB
    """Waiting bytes below this, after ``on_full``, call ``on_drained``."""

    stall_timeout_s: float = 60.0
    """A connection that stays full for this long is closed with 1013; one whose HTTP answers nobody reads on
    is cut. 0 = no limit."""

    send_buffer_bytes_max: int = 32 * MIB
    """Waiting bytes that a full connection may reach. The frame that would cross it closes with 1013."""

    read_buffer_bytes: int = 2048
    """First size of the read buffer (picows takes no less than 2048). It doubles for larger frames."""

    read_buffer_keep_bytes: int = 64 * KIB
    """A read buffer that grew past this is given back after the frame."""

    deflate: bool = True
    """Whether permessage-deflate is agreed to."""

    deflate_from_bytes: int = 1 * KIB
    """Shorter payloads are sent as they are."""

    deflate_up_to_bytes: int = 256 * KIB
    """Longer payloads are sent as they are: compressing would hold up all others (about 25 ms per MiB)."""

    deflate_level: int = 6
    """zlib's level, 1 (fast) to 9 (small)."""


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What one connection may do, in either dialect."""

    frame_bytes_max: int = 16 * MIB
    """What may wait until a room is open: twice this."""

    room_name_bytes_max: int = 512
    """A room's name, in bytes of UTF-8."""

    message_rate_max_per_s: float = 1_000
    """Messages on average. Above it, the connection is read more slowly."""

    message_burst_max: float = 20_000
    """Messages at once, before the rate counts."""

    message_flood_max_s: float = 10
    """Held back for this long without a pause, a connection is closed with 4429."""

    silence_timeout_s: float = 30
    """From opening to the first message of a plain connection."""

    auth_timeout_s: float = 10
    """From opening to the first admission on a multiplexed connection; traffic does not refresh it."""

    unauthenticated_bytes_max: int = MIB
    """Frames of a multiplexed connection that may wait for a document to open before it is read no more; what
    waits without a token closes it with 4413."""

    unauthenticated_messages_max: int = 1_000
    """The same, counted in frames."""

    unauthenticated_documents_max: int = 100
    """Documents of a multiplexed connection that may wait to be let in."""

    documents_per_connection_max: int = 1_000
    """Documents of a multiplexed connection at once. A further one is denied."""

    stateless_bytes_max: int = 64 * KIB
    """A message that no document keeps, in bytes of UTF-8."""

    stamps_presence: bool = False
    """Whether the verified user is put into what a client says of itself."""

    keepalive_s: float = 20
    """A connection that got nothing for this long gets a small frame."""
