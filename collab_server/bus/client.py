"""Redis through redis-py, for what is not hot: Sentinels and counts. ``link`` carries the bus itself."""

from __future__ import annotations

import ssl
from typing import Any, cast

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from collab_server.bus.link import LinkError
from collab_server.bus.settings import BusAddress
from collab_server.errors import BusConfigError


class _TlsConnection(SSLConnection):
    """Trusts whom our links trust: redis-py's own context adds the system's authorities to a given one."""

    def __init__(self, *, tls: ssl.SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = tls


async def open_client(address: BusAddress, tls: ssl.SSLContext | None, timeout_s: float) -> Redis:
    """A client of the master. It connects when it is first used, and tries nothing twice.

    Raises:
        LinkError: No Sentinel knows the master.
    """
    host, port = await find_master(address, tls, timeout_s) if address.service else address.places[0]
    pool = _pool(tls, timeout_s, host=host, port=port, path=address.path)
    pool.connection_kwargs |= {
        "db": address.database,
        "username": address.username or None,
        "password": address.password or None,
    }
    return Redis.from_pool(pool)


async def find_master(address: BusAddress, tls: ssl.SSLContext | None, timeout_s: float) -> tuple[str, int]:
    """Ask the Sentinels of an address, one after the other, for a master that they do not take for down.

    Raises:
        LinkError: None of them can be asked, or knows one.
    """
    credentials: dict[str, Any] = {
        "username": address.sentinel_username or None,
        "password": address.sentinel_password or None,
    }
    said: list[str] = []
    for host, port in address.places:
        sentinel = Redis.from_pool(_pool(tls, timeout_s, host=host, port=port, **credentials))
        try:
            masters = cast(dict[str, dict[str, Any]], await sentinel.sentinel_masters())
        except AuthenticationError:
            said.append(f"{host}:{port} refuses the password, or the name with it")
        except RedisError as error:
            said.append(f"{host}:{port}: {error}")
        else:
            master = masters.get(address.service)
            if master is None:
                said.append(f"{host}:{port} knows no service {address.service!r}")
            elif master["is_sdown"] or master["is_odown"]:
                said.append(f"{host}:{port} takes {master['ip']}:{master['port']} for down")
            else:
                return master["ip"], master["port"]
        finally:
            await sentinel.aclose()
    raise LinkError("no Sentinel knows the master: " + "; ".join(said))


def tls_context(address: BusAddress) -> ssl.SSLContext | None:
    """Whom to trust, and who we are; None where nothing is encrypted.

    Raises:
        BusConfigError: A certificate or key cannot be used.
    """
    if not address.is_tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.tls_ca_path or None)
        context.check_hostname = address.tls_checks_host
        context.verify_mode = ssl.CERT_REQUIRED if address.tls_verifies else ssl.CERT_NONE
        if address.tls_cert_path:
            context.load_cert_chain(address.tls_cert_path, address.tls_key_path or None)
    except (OSError, ssl.SSLError) as error:
        raise BusConfigError(f"bus: a certificate or key cannot be used: {error}") from error
    return context


def _pool(
    tls: ssl.SSLContext | None, timeout_s: float, *, host: str, port: int, path: str = "", **options: Any
) -> ConnectionPool:
    """One connection at most. RESP2, because a Sentinel or a proxy in between may know nothing else."""
    if path:
        options |= {"connection_class": UnixDomainSocketConnection, "path": path}
    else:
        options |= {"connection_class": Connection, "host": host, "port": port}
    if tls is not None:
        options |= {"connection_class": _TlsConnection, "tls": tls}
    return ConnectionPool(
        max_connections=1,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        **options,
    )
