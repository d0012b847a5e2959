"""Which web pages may talk to this server. Pure.

A browser lets any page on the web open a WebSocket to any address, this machine's own ones included, and says
in ``Origin`` which page it is. Programs that are no browsers need not send one, and are not what this guards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from collab_server.access.identity import Caller

ANY = "*"
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_PATTERN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|(?:\*\.)?[^\s/?#:*\[\]@,]+)(?::(?P<port>\d{1,5}|\*))?",
    re.IGNORECASE,
)


class Origins:
    """Judges the ``Origin`` and the ``Host`` of a request."""

    def __init__(self, allowed: Sequence[str] = (), *, guards_host: bool = False) -> None:
        """Prepare.

        Args:
            allowed: patterns, ``https://app.example.com``, ``https://*.example.com`` (any name below it),
                ``http://localhost:*`` (any port), ``null``, or ``*`` for every page. With none, only pages of
                this machine and of this server may come.
            guards_host: Whether the name by which the server is called must be ``localhost`` or an address.
                That is for a server that trusts whoever is on its machine: a page of a name that its owner
                points at 127.0.0.1 would otherwise be "a page of this server" (DNS rebinding). Names of
                ``allowed`` pages are good too; where every page is allowed, nothing is left to guard.

        Raises ValueError for a pattern that is none.
        """
        check_patterns(allowed)
        self._any = ANY in allowed
        self._null = "null" in allowed
        self._patterns = [_compiled(pattern) for pattern in allowed if pattern not in {ANY, "null"}]
        self._guards_host = guards_host and not self._any
        self._loopback_pages = not allowed

    @property
    def allows_any(self) -> bool:
        """Whether every page may come."""
        return self._any

    def fault(self, caller: Caller) -> str | None:
        """Why the page, or the name by which it calls this server, is not welcome; None if it is.

        The text is short enough for a close reason.
        """
        if self._guards_host and not self._is_own_name(caller.host):
            return "call this server by localhost or its address: it has no keys"
        origin = caller.origin
        if origin is None or self._any or self._is_allowed(origin, caller.host):
            return None
        return "pages of this origin are not allowed here"

    def _is_allowed(self, origin: str, host: str | None) -> bool:
        if origin == "null":
            return self._null
        normal = _normal(origin)
        if normal is None:
            return False
        if self._is_listed(normal):
            return True
        if host is not None and _normal(f"{normal[0]}://{host}") == normal:
            return True
        return self._loopback_pages and is_loopback_name(normal[1])

    def _is_listed(self, normal: tuple[str, str, str]) -> bool:
        scheme, name, port = normal
        return any(pattern.fullmatch(f"{scheme}://{name}:{port}") for pattern in self._patterns)

    def _is_own_name(self, host: str | None) -> bool:
        if host is None:
            return False
        pages = (_normal(f"http://{host}"), _normal(f"https://{host}"))
        return _is_machine_itself(host) or any(page is not None and self._is_listed(page) for page in pages)


def check_patterns(patterns: Sequence[str]) -> None:
    """Raise ValueError, in the operator's words, for what is no origin."""
    for pattern in patterns:
        if pattern in {ANY, "null"} or _PATTERN.fullmatch(pattern):
            continue
        if _PATTERN.match(pattern) and pattern.partition("://")[2].count("/"):
            raise ValueError(f"{pattern!r} has a path, and an origin has none")
        raise ValueError(f"{pattern!r} is no origin such as https://app.example.com or https://*.example.com")


def _compiled(pattern: str) -> re.Pattern[str]:
    found = _PATTERN.fullmatch(pattern.lower())
    assert found is not None  # noqa: S101 - checked before
    scheme, host, port = found["scheme"], found["host"], found["port"]
    name = rf"[^/:]+\.{re.escape(host[2:])}" if host.startswith("*.") else re.escape(host)
    number = r"\d*" if port == ANY else re.escape(port or _DEFAULT_PORTS.get(scheme, ""))
    return re.compile(rf"{re.escape(scheme)}://{name}:{number}")


def _normal(origin: str) -> tuple[str, str, str] | None:
    """Scheme, host and port in lower case, a port that is left out filled in; None for what is no origin."""
    scheme, separator, place = origin.lower().partition("://")
    if not separator or any(sign in place for sign in "/?#@, \t\\"):
        return None
    name, port = _split_port(place)
    return (scheme, name, port or _DEFAULT_PORTS.get(scheme, "")) if name else None


def _split_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        name, _, rest = place.partition("]")
        return name + "]", rest.removeprefix(":")
    name, _, port = place.partition(":")
    return name, port


def is_loopback_name(name: str) -> bool:
    """Whether a host's name or address (in lower case) is this machine itself, for nobody but itself."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_machine_itself(host: str) -> bool:
    """Whether a name cannot have been made to point here by somebody else: an address, or localhost."""
    name, port = _split_port(host.strip().lower())
    if port and not port.isdecimal():
        return False
    if is_loopback_name(name):
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
