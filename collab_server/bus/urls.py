"""From the address that an operator writes to what the bus needs."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from collab_server.bus.settings import BusAddress
from collab_server.errors import BusConfigError

_FORMS = (
    "redis://host[:port][/database], rediss://... for TLS, unix:///path, or "
    "redis+sentinel://host[:port],host[:port]/service[/database]; user:password@ goes before the host"
)
_SCHEMES = {
    "redis": (False, False),
    "valkey": (False, False),
    "rediss": (True, False),
    "valkeys": (True, False),
    "redis+sentinel": (False, True),
    "valkey+sentinel": (False, True),
    "rediss+sentinel": (True, True),
    "valkeys+sentinel": (True, True),
}
"""Whether it is encrypted, and whether Sentinels are named."""
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
REDIS_PORT = 6379
SENTINEL_PORT = 26379


def parse_bus_url(url: str) -> BusAddress:
    """What the setting ``bus`` says. The options are named as in redis-py.

    Raises:
        BusConfigError: It is no address of a bus. The text shows no password.
    """
    try:
        return _parse(url)
    except ValueError as error:
        raise BusConfigError(f"bus is not an address that can be used: {error}") from error


def _parse(url: str) -> BusAddress:
    scheme, colon, _ = url.partition("://")
    scheme = scheme.lower()
    if not colon or (scheme not in _SCHEMES and scheme != "unix"):
        raise ValueError(f"it must be {_FORMS}")
    # ``+`` and several hosts are not for urlsplit: cut the address by hand, and leave it the rest.
    rest = urlsplit("redis://" + url[len(scheme) + 3 :])
    if rest.fragment:
        raise ValueError("'#' must be written as %23 in it")
    is_tls, has_sentinels = _SCHEMES.get(scheme, (False, False))
    credentials, _, hosts = rest.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    options = _options(rest.query, is_tls=is_tls, has_sentinels=has_sentinels)
    path = [unquote(part) for part in rest.path.split("/") if part]
    address: dict[str, object] = {}
    if scheme == "unix":
        if hosts or not path:
            raise ValueError("a Unix socket is given with three slashes, as in unix:///run/redis.sock")
        address = {"places": (("localhost", 0),), "path": unquote(rest.path)}
        path = []
    elif has_sentinels:
        if not path:
            raise ValueError("the name of the Sentinels' service is missing: .../service")
        address = {"places": _places(hosts, SENTINEL_PORT), "service": path.pop(0)}
    else:
        address = {"places": _places(hosts, REDIS_PORT)}
        if "," in hosts:
            raise ValueError("only Sentinels can be several hosts")
    database = options.pop("db", None) or (path.pop(0) if path else "0")
    if path or not database.isdecimal():
        raise ValueError("the database must be a number, as in redis://host/0")
    return BusAddress(
        **address,  # type: ignore[arg-type]
        database=int(database),
        username=unquote(username),
        password=unquote(password),
        is_tls=is_tls,
        **_tls(options),  # type: ignore[arg-type]
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
    )


def _options(query: str, *, is_tls: bool, has_sentinels: bool) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = ["db", *(_TLS_OPTIONS if is_tls else ()), *(_SENTINEL_OPTIONS if has_sentinels else ())]
    for name in options:
        if name not in known:
            hint = "; it needs rediss://" if name in _TLS_OPTIONS else ""
            raise ValueError(f"it has an unknown option {name!r}{hint}; there are {', '.join(known)}")
    return options


def _tls(options: dict[str, str]) -> dict[str, object]:
    verifies = options.get("ssl_cert_reqs", "required")
    if verifies not in {"required", "none"}:
        raise ValueError("ssl_cert_reqs must be required or none")
    checks_host = options.get("ssl_check_hostname", "true").lower()
    if checks_host not in {"true", "false"}:
        raise ValueError("ssl_check_hostname must be true or false")
    return {
        "tls_ca_path": options.get("ssl_ca_certs", ""),
        "tls_cert_path": options.get("ssl_certfile", ""),
        "tls_key_path": options.get("ssl_keyfile", ""),
        "tls_verifies": verifies == "required",
        "tls_checks_host": checks_host == "true" and verifies == "required",
    }


def _places(hosts: str, port: int) -> tuple[tuple[str, int], ...]:
    return tuple(_place(host, port) for host in hosts.split(","))


def _place(host: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return unquote(parts.hostname), parts.port if parts.port is not None else port
