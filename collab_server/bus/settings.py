"""Where the bus is, and its pace and bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from collab_server.bus.shards import SHARDS_DEFAULT


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where a Redis is, or the Sentinels that know. Made by ``urls.parse_bus_url``."""

    places: tuple[tuple[str, int], ...]
    """Host and port; of each Sentinel, if ``service`` is given."""
    path: str = ""
    """A Unix socket instead."""
    service: str = ""
    """The name under which the Sentinels know the master."""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    is_tls: bool = False
    tls_ca_path: str = ""
    """PEM file with the authorities to trust; the system's, if empty."""
    tls_cert_path: str = ""
    tls_key_path: str = ""
    tls_verifies: bool = True
    tls_checks_host: bool = True


@dataclass(frozen=True, slots=True)
class BusSettings:
    """The pace and the bounds of a bus on Redis."""

    address: BusAddress
    prefix: str = "collab"
    """What the names of all keys begin with; nodes with another prefix are another system."""
    shards_count: int = SHARDS_DEFAULT
    stream_entries_max_approx: int = 10_000
    """Entries that a stream keeps, about."""
    stream_age_max_s: float = 30.0
    """Entries older than this are removed, even if there are few."""
    entry_bytes_max: int = 256 * 1024
    """From this size on what is said goes into further entries; one turn's messages stay together."""
    queue_bytes_max: int = 64 * 1024 * 1024
    """What may wait for Redis."""
    heartbeat_s: float = 2.5
    node_timeout_s: float = 10.0
    """After this time without a heartbeat a node is gone."""
    timeout_s: float = 5.0
    """How long Redis may be silent."""
