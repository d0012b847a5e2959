"""From the settings to a gatekeeper: which keys hold, who is asked, and who needs no token."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import structlog

from collab_server.access.base import Gatekeeper, Revoked
from collab_server.access.callback import Callback, CallbackSettings
from collab_server.access.fetch import Fetcher, checked_url
from collab_server.access.gatekeeper import (
    CountingGatekeeper,
    LoopbackGatekeeper,
    OpenGatekeeper,
    TokenGatekeeper,
)
from collab_server.access.identity import Role
from collab_server.access.jwks import Jwks, file_reader
from collab_server.access.keys import (
    FixedKeys,
    Key,
    KeySource,
    KeyUnusableError,
    read_pem,
    read_secret,
    secret_key,
)
from collab_server.access.tokens import TokenRules, Tokens
from collab_server.config import SECRET_BYTES_MIN, Settings, masked_url, too_short
from collab_server.errors import ConfigError
from collab_server.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_KEY_SETTINGS = ("jwt_secret", "jwt_secret_file", "jwt_key", "jwks")


def has_keys(settings: Settings) -> bool:
    """Whether tokens can be checked."""
    return any(getattr(settings, key) for key in _KEY_SETTINGS)


def is_guarded(settings: Settings) -> bool:
    """Whether there is something to decide by who may enter: keys, or an application that is asked."""
    return has_keys(settings) or settings.access_callback is not None


def check_exposure(settings: Settings) -> None:
    """Without keys, or with a secret that can be guessed, only this machine may be served.

    Without keys the settings may say otherwise.

    Raises:
        ConfigError: The public port could be reached from elsewhere, and nothing guards it, or not well.
    """
    if _is_loopback(settings.host):
        return
    if settings.jwt_secret is not None and len(settings.jwt_secret.encode()) < SECRET_BYTES_MIN:
        raise ConfigError(
            f"jwt_secret {too_short(settings.jwt_secret.encode())}; a shorter one will do on loopback only, "
            f"and host {settings.host} can be reached from other machines"
        )
    if is_guarded(settings) or settings.allow_anonymous:
        return
    raise ConfigError(
        f"host {settings.host} can be reached from other machines, and there is no key to check tokens with: "
        "set --jwt-secret, --jwt-key, --jwks or --access-callback, or let everybody in with --allow-anonymous"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        # Binding says better what is wrong with it, and nothing is served there.
        return True
    return all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


class Access:
    """A gatekeeper and what it needs to live: ``await open()``, ``run()`` as a task, ``await close()``.

    Args:
        settings: what is in force.
        metrics: where it counts.
        clock: seconds that never fall.
        wall_clock_ms: milliseconds since 1970.
        random: from 0 to 1.
        revoked: what was taken back; nothing if None.

    Raises:
        ConfigError: A key, a URL or a combination of settings makes no sense.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        wall_clock_ms: Callable[[], int],
        random: Callable[[], float],
        revoked: Revoked | None = None,
    ) -> None:
        check_exposure(settings)
        _check_fit(settings)
        self._fetchers: list[Fetcher] = []
        self._jwks = [self._key_set(place, settings, metrics, clock, random) for place in settings.jwks]
        self._callback: Callback | None = None
        fixed = FixedKeys(_fixed_keys(settings))
        sources: list[KeySource] = [fixed, *self._jwks]
        metrics.keys.set_function(lambda: sum(len(source.keys) for source in sources))
        role = Role[settings.anonymous_role.name] if settings.allow_anonymous else None
        inner: OpenGatekeeper | LoopbackGatekeeper | TokenGatekeeper
        if is_guarded(settings):
            tokens = None
            if has_keys(settings):
                tokens = Tokens(sources, _rules(settings), wall_clock_ms=wall_clock_ms)
            if settings.access_callback is not None:
                self._callback = self._ask(settings.access_callback, settings, metrics, clock, wall_clock_ms)
            inner = TokenGatekeeper(
                tokens,
                self._callback,
                role,
                revoked,
                token_bytes_max=settings.token_bytes_max,
            )
        elif role is not None:
            inner = OpenGatekeeper(role)
        else:
            inner = LoopbackGatekeeper()
        self.gatekeeper: Gatekeeper = CountingGatekeeper(inner, metrics.count_admission)

    @property
    def trouble(self) -> str | None:
        """Why nobody with a token can be let in, in one sentence; None if they can."""
        missing = next((jwks for jwks in self._jwks if not jwks.is_complete), None)
        return None if missing is None else f"the keys of {missing.name} could not be read: {missing.trouble}"

    async def open(self) -> None:
        """Read the key sets. A server that does not answer is asked again later; a file must be there.

        Raises:
            ConfigError: A file of keys cannot be used.
        """
        await asyncio.gather(*(jwks.refresh() for jwks in self._jwks))
        for jwks in self._jwks:
            if jwks.is_file and jwks.trouble is not None:
                raise ConfigError(f"jwks {jwks.name} cannot be used: {jwks.trouble}")

    async def run(self) -> None:
        """Keep the key sets fresh; never returns."""
        async with asyncio.TaskGroup() as group:
            for jwks in self._jwks:
                group.create_task(jwks.run(), name=f"keys of {jwks.name}")
            await asyncio.Event().wait()

    async def close(self) -> None:
        """Let go of connections, and of questions under way."""
        for jwks in self._jwks:
            await jwks.close()
        if self._callback is not None:
            await self._callback.close()
        for fetcher in self._fetchers:
            await fetcher.close()

    def _key_set(
        self,
        place: str,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> Jwks:
        is_file = "://" not in place
        if is_file:
            read = file_reader(Path(place), settings.jwks_bytes_max, settings.jwks_timeout_s)
        else:
            url = checked_url("jwks", place, http_allowed=settings.access_http)
            fetcher = Fetcher(
                timeout_s=settings.jwks_timeout_s,
                bytes_max=settings.jwks_bytes_max,
                ca_file=settings.access_ca,
            )
            self._fetchers.append(fetcher)

            async def read() -> bytes:
                return await fetcher.get(url)

        return Jwks(
            place if is_file else masked_url(place),
            read,
            metrics,
            is_file=is_file,
            refresh_s=settings.jwks_refresh_s,
            unknown_refresh_s=settings.jwks_unknown_refresh_s,
            clock=clock,
            random=random,
        )

    def _ask(
        self,
        place: str,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float],
        wall_clock_ms: Callable[[], int],
    ) -> Callback:
        url = checked_url("access_callback", place, http_allowed=settings.access_http)
        fetcher = Fetcher(
            timeout_s=settings.access_callback_timeout_s,
            bytes_max=settings.access_callback_bytes_max,
            connections_max=settings.access_callback_concurrent_max,
            ca_file=settings.access_ca,
        )
        self._fetchers.append(fetcher)
        return Callback(
            lambda question: fetcher.post(url, question),
            CallbackSettings(
                cache_s=settings.access_callback_cache_s,
                cache_max=settings.access_callback_cache_max,
                concurrent_max=settings.access_callback_concurrent_max,
                failures_max=settings.access_callback_failures_max,
                pause_s=settings.access_callback_pause_s,
            ),
            metrics,
            clock=clock,
            wall_clock_ms=wall_clock_ms,
        )


def _fixed_keys(settings: Settings) -> list[Key]:
    keys: list[Key] = []
    if settings.jwt_secret is not None:
        try:
            secret = settings.jwt_secret.encode()
            if len(secret) < SECRET_BYTES_MIN:
                log.warning(
                    "jwt_secret is good for trying things out on loopback only", reason=too_short(secret)
                )
            keys.append(secret_key(secret, bytes_min=1))
        except KeyUnusableError as error:
            raise ConfigError(f"jwt_secret {error}") from error
    if settings.jwt_secret_file is not None:
        keys.append(read_secret(settings.jwt_secret_file))
    for path in settings.jwt_key:
        keys += read_pem(Path(path))
    return keys


def _rules(settings: Settings) -> TokenRules:
    return TokenRules(
        issuer=settings.jwt_issuer,
        audiences=frozenset(settings.jwt_audience),
        clock_skew_s=settings.jwt_clock_skew_s,
        exp_required=settings.jwt_exp_required,
    )


def _check_fit(settings: Settings) -> None:
    """A setting that would do nothing is a mistake that should be heard of."""
    if not has_keys(settings):
        for key in ("jwt_issuer", "jwt_audience"):
            if getattr(settings, key):
                raise ConfigError(
                    f"{key} is set, but there is no key to check tokens with: set jwt_secret, jwt_key or jwks"
                )
