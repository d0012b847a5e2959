"""Where a request comes from: the address behind the proxies, and the page that made it. Pure.

The one place that looks at proxy headers. Anybody can send them, so they count only when the TCP peer is a
proxy that the operator named, and only from the right end of the list, up to the first address that is no
such proxy: what stands left of it is the client's own invention.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from collab_server.access.identity import Caller

HeaderValues = Callable[[str], Iterable[str]]
"""Every value of a header, by its name in lower case, in the order in which they came."""

_Address = IPv4Address | IPv6Address
_FORWARDING = ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host", "x-forwarded-proto", "via")
_HOPS_MAX = 32
# RFC 7239 section 4: pairs of a token and a token or quoted string, between semicolons.
_FORWARDED_FOR = re.compile(r'(?:^|;)\s*for=(?:"([^"]*)"|([^;,\s]*))', re.IGNORECASE)
_QUOTED_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,')


class ProxyHeader(StrEnum):
    """The header in which the trusted proxies say whom they speak for."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"


class Callers:
    """Says of a request who makes it."""

    def __init__(
        self, trusted_proxies: Sequence[str] = (), header: ProxyHeader = ProxyHeader.X_FORWARDED_FOR
    ) -> None:
        """``trusted_proxies`` are addresses and networks as CIDR. Raises ValueError for what is neither.

        Only one ``header`` is read: a proxy that writes one of them passes a forged other one on.
        """
        self._trusted = tuple(ip_network(text, strict=False) for text in trusted_proxies)
        self._header = header.value

    def caller(self, peer: str | None, headers: HeaderValues) -> Caller:
        """Who makes a request.

        Args:
            peer: the address of the TCP peer, without port; None where there is none.
            headers: the request's headers.

        A caller is on loopback only when nobody stands between: a request with any forwarding header is
        from wherever the proxy has it from, also when the proxy runs on this machine and was not named.
        """
        address = read_address(peer)
        is_direct = not self._is_trusted(address) and not any(
            value for name in _FORWARDING for value in headers(name)
        )
        is_loopback = is_direct and address is not None and address.is_loopback
        if not is_direct and self._is_trusted(address):
            address = self._behind_proxies(address, headers)
        return Caller(
            address=str(address) if address is not None else None,
            is_loopback=is_loopback,
            origin=_shared(_only(headers("origin"))),
            host=_shared(self._host(read_address(peer), headers)),
        )

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _behind_proxies(self, address: _Address | None, headers: HeaderValues) -> _Address | None:
        """The rightmost address that is no trusted proxy; the last proxy's own where none can be read."""
        for text in reversed(_hops(self._header, headers)[-_HOPS_MAX:]):
            hop = read_address(text)
            if hop is None:
                return address
            address = hop
            if not self._is_trusted(hop):
                return address
        return address

    def _host(self, peer: _Address | None, headers: HeaderValues) -> str | None:
        if self._is_trusted(peer) and (forwarded := _only(headers("x-forwarded-host"))):
            return forwarded.rpartition(",")[2].strip()
        return _only(headers("host"))


def read_address(text: str | None) -> _Address | None:
    """An IP address as proxies write it: with a port, in brackets, with a zone; None if it is none.

    An IPv4 address inside an IPv6 one (``::ffff:192.0.2.1``) is the IPv4 address.
    """
    if text is None:
        return None
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def network_of(address: str | None) -> str:
    """What limits by address count by: an IPv4 address, or the /64 of an IPv6 one (one subscriber's share).

    Whoever has no address shares one entry.
    """
    read = read_address(address)
    if read is None:
        return "unknown"
    return str(IPv6Network((read, 64), strict=False)) if isinstance(read, IPv6Address) else str(read)


def check_networks(texts: Iterable[str]) -> None:
    """Raise ValueError, in the operator's words, for what is no address or network."""
    for text in texts:
        try:
            network: IPv4Network | IPv6Network = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is no address or network such as 10.0.0.0/8") from None
        if network.prefixlen == 0:
            raise ValueError(f"{text!r} trusts the whole world: anybody could claim any address")


def _hops(header: str, headers: HeaderValues) -> list[str]:
    joined = ",".join(headers(header))
    if header == ProxyHeader.X_FORWARDED_FOR:
        return joined.split(",") if joined else []
    hops = []
    for element in _split_quoted(joined):
        found = _FORWARDED_FOR.search(element)
        hops.append((found[1] or found[2] or "") if found else "")
    return hops


def _split_quoted(text: str) -> list[str]:
    """Split at the commas that stand outside of quoted strings."""
    if not text:
        return []
    cuts = [found.start() for found in _QUOTED_OR_COMMA.finditer(text) if found[0] == ","]
    return [text[begin + 1 : end] for begin, end in zip([-1, *cuts], [*cuts, len(text)], strict=True)]


def _shared(text: str | None) -> str | None:
    """The same object for the same text: few sites have many callers, and each is kept for hours."""
    return None if text is None else sys.intern(text)


def _only(values: Iterable[str]) -> str | None:
    """The value, where there is one; several are joined, and so equal nothing that is expected."""
    listed = list(values)
    return ", ".join(listed) if listed else None
