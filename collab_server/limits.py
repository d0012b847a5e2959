"""Assembly of what keeps people honest: who calls, whose page, how much of it. From the settings, once."""

from __future__ import annotations

from collections.abc import Callable

from collab_server.access.addresses import Addresses, AddressSettings
from collab_server.access.callers import Callers
from collab_server.access.load import Load, LoadSettings, Sample
from collab_server.access.meters import LimitSharing, Meter, SharedCounts
from collab_server.access.origins import Origins
from collab_server.access.traffic import Traffic, TrafficSettings
from collab_server.config import Settings
from collab_server.telemetry.process import LoopCpu, memory_bytes, memory_limit_bytes

_HTTP_BURST_S = 10.0


class Limits:
    """The limits of a node."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float]) -> None:
        """Make it in the event loop's thread, whose CPU is measured."""
        self._settings = settings
        self._clock = clock
        self._cpu = LoopCpu()
        keys_max = settings.limit_entries_max
        self.callers = Callers(settings.trusted_proxies, settings.proxy_header)
        self.origins = _origins(settings)
        self.addresses = Addresses(
            AddressSettings(
                connections_max=settings.connections_per_address_max,
                rate_max_per_s=settings.connection_rate_per_address_max_per_s,
                burst_max=settings.connection_burst_per_address_max,
                keys_max=keys_max,
            )
        )
        http_rate = settings.http_rate_per_address_max_per_s
        self.http_requests = Meter("h", http_rate, max(1.0, http_rate * _HTTP_BURST_S), keys_max)
        self.wrong_tokens = Meter(
            "t", settings.wrong_tokens_per_address_max_per_s, settings.wrong_tokens_burst_max, keys_max
        )
        self.traffic = Traffic(
            TrafficSettings(
                address_rate_max_per_s=settings.message_rate_per_address_max_per_s,
                user_rate_max_per_s=settings.message_rate_per_user_max_per_s,
                room_rate_max_per_s=settings.message_rate_per_room_max_per_s,
                burst_s=settings.message_burst_shared_s,
                keys_max=keys_max,
            )
        )
        memory_max = settings.memory_limit_bytes or memory_limit_bytes()
        self.load = Load(
            LoadSettings(
                cpu_share_max=settings.shed_cpu_percent / 100,
                memory_bytes_max=int(memory_max * settings.shed_memory_percent / 100),
                loop_lag_max_s=settings.shed_loop_lag_ms / 1000,
                connections_max=int(settings.connections_max * settings.shed_connections_percent / 100),
                patience_s=settings.shed_patience_s,
            )
        )

    def sample(self, lag_s: float, connections: int) -> Sample:
        """How it stands now."""
        return Sample(self._cpu.share(), memory_bytes(), lag_s, connections)

    def sharing(self, counts: SharedCounts) -> LimitSharing:
        """What makes the rates hold over all nodes."""
        settings = self._settings
        return LimitSharing(
            [self.addresses.rate, self.http_requests, self.wrong_tokens, *self.traffic.meters],
            counts,
            interval_s=settings.limit_share_interval_ms / 1000,
            keys_max=settings.limit_share_keys_max,
            clock=self._clock,
        )


def _origins(settings: Settings) -> Origins:
    """Which pages may come.

    With keys it is the token that lets somebody in, and a page of any origin needs one. Without, whoever is
    on this machine is trusted, so a page from elsewhere must not borrow that.
    """
    is_open = settings.allow_anonymous or settings.has_keys
    return Origins(settings.allowed_origins or (("*",) if is_open else ()), guards_host=not is_open)
