"""The ports: sockets that are bound before anything else starts, so that a taken port is known at once."""

from __future__ import annotations

import contextlib
import socket

from collab_server.errors import ConfigError

_BACKLOG = 128
"""Until the server listens again, with its own."""


def bind(host: str, port: int, key: str) -> socket.socket:
    """A socket that listens. ``port`` 0 takes any free one.

    Raises ConfigError with the setting's name (``key``, which ends with ``port``).
    """
    # Listening at once shows a port that somebody else listens on with SO_REUSEADDR; uvicorn repeats it.
    return listening(host, port, key, _BACKLOG, shared=False)


def bind_group(host: str, port: int, count: int, key: str, backlog: int) -> list[socket.socket]:
    """``count`` sockets that listen on one port; the kernel deals new connections out to them.

    Raises ConfigError, also when another program listens on the port with SO_REUSEPORT, which the kernel
    itself would allow.
    """
    probe = bind(host, port, key)
    port = probe.getsockname()[1]
    probe.close()
    listeners: list[socket.socket] = []
    try:
        for _ in range(count):
            listener = _bound(host, port, key, shared=True)
            listeners.append(listener)
        for listener in listeners:
            listener.listen(backlog)
    except (ConfigError, OSError) as error:
        for listener in listeners:
            listener.close()
        raise error if isinstance(error, ConfigError) else _unusable(host, port, key, error) from error
    return listeners


def listening(host: str, port: int, key: str, backlog: int, *, shared: bool) -> socket.socket:
    """A socket that listens on a port that was closed for a while; ``shared`` as one of a group.

    Raises ConfigError.
    """
    listener = _bound(host, port, key, shared=shared)
    try:
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise _unusable(host, port, key, error) from error
    return listener


def bind_each(host: str, first_port: int, count: int, key: str) -> list[socket.socket]:
    """A socket for each of ``count`` ports from ``first_port`` on; with 0, each on any free one.

    Raises ConfigError.
    """
    listeners: list[socket.socket] = []
    try:
        for port in range(first_port, first_port + count) if first_port else [0] * count:
            listeners.append(bind(host, port, key))  # noqa: PERF401 - those before are closed if one fails
    except ConfigError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def url(scheme: str, host: str, listener: socket.socket) -> str:
    """The address that a person opens."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _bound(host: str, port: int, key: str, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ConfigError(f"{_host_key(key)} {host!r} is no address: {error.strerror}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        with contextlib.suppress(OSError):
            listener.close()
        raise _unusable(host, port, key, error) from error
    return listener


def _unusable(host: str, port: int, key: str, error: OSError) -> ConfigError:
    return ConfigError(f"{key} {port} on {host} cannot be used: {error.strerror}")


def _host_key(key: str) -> str:
    return "ops_host" if key.startswith("ops") else "host"
