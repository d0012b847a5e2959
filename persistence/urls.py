"""From the address of a store to the store: the only place that knows all kinds of them."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from persistence.base import Store
from persistence.errors import StoreUrlError
from persistence.memory import MemoryStore
from persistence.postgres import PostgresSettings, PostgresStore
from persistence.sqlite import SqliteStore

EXAMPLES = {
    "sqlite": "sqlite:///data/collab.sqlite3",
    "postgresql": "postgresql://user:password@host:5432/database",
    "memory": "memory:",
}

POSTGRES_PARAMETERS = frozenset(
    (
        *("host", "port", "user", "password", "passfile", "dbname", "database"),
        *("application_name", "target_session_attrs", "krbsrvname", "gsslib"),
        *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    )
)
"""What asyncpg takes in an address. It would send anything else to the server as a setting of the session."""

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def open_store(url: str) -> Store:
    """The store that ``url`` names, not yet opened: call its ``open()``.

    ``memory:`` keeps nothing after the process. ``sqlite:///data/x.sqlite3`` is relative to the working
    folder, ``sqlite:////var/lib/x.sqlite3`` (four slashes) is absolute; percent-encoding is decoded.

    ``postgresql://user:password@host:5432/database?sslmode=verify-full&sslrootcert=/ca.pem`` takes what
    libpq takes, and the fields of ``PostgresSettings``, such as ``pgbouncer=true`` or ``connections_max=20``.

    Raises:
        StoreUrlError: one line that says what is wrong and what would be right.
    """
    scheme, colon, rest = url.strip().partition(":")
    if any(ord(char) < 0x20 for char in url.strip()):
        raise StoreUrlError("the store's address has a control character in it")
    match scheme.lower() if colon else "":
        case "memory":
            if rest not in ("", "//"):
                raise StoreUrlError(f"{url!r}: nothing comes after 'memory:'")
            return MemoryStore()
        case "sqlite":
            return SqliteStore(_sqlite_path(url, rest))
        case "postgresql" | "postgres":
            return _postgres(url.strip())
        case _:
            raise StoreUrlError(_unknown(url, scheme.lower(), has_scheme=bool(colon)))


def _sqlite_path(url: str, rest: str) -> Path:
    location, _, query = rest.partition("?")
    if query:
        raise StoreUrlError(f"{url!r}: a SQLite address has no parameters; try 'sqlite:{location}'")
    if not location.startswith("///"):
        hint = location.lstrip("/") or "data/collab.sqlite3"
        raise StoreUrlError(f"{url!r}: a SQLite address has three slashes; try 'sqlite:///{hint}'")
    path = unquote(location[3:])
    if path in ("", "/"):
        raise StoreUrlError(f"{url!r}: the file's path is missing; try '{EXAMPLES['sqlite']}'")
    if path == ":memory:":
        raise StoreUrlError(f"{url!r}: SQLite in memory is not supported; try 'memory:'")
    if path.endswith("/"):
        raise StoreUrlError(f"{url!r}: this names a folder; try 'sqlite:///{path}collab.sqlite3'")
    if "\0" in path:
        raise StoreUrlError(f"{url!r}: a path has no NUL character")
    return Path(path)


def _postgres(url: str) -> PostgresStore:
    # The address may hold a password: no message repeats it.
    try:
        parts = urlsplit(url)
        port = None if "," in parts.netloc else parts.port  # libpq takes several hosts
    except ValueError as error:
        raise StoreUrlError(
            f"the PostgreSQL address is wrong ({error}); try '{EXAMPLES['postgresql']}'"
        ) from None
    if not url.partition(":")[2].startswith("//"):
        raise StoreUrlError(f"a PostgreSQL address has two slashes; try '{EXAMPLES['postgresql']}'")
    ours: dict[str, Any] = {}
    kept: list[tuple[str, str]] = []
    kinds = {entry.name: entry.type for entry in fields(PostgresSettings)}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in kinds:
            ours[key] = _postgres_setting(key, value, str(kinds[key]))
        elif key in POSTGRES_PARAMETERS:
            kept.append((key, value))
        else:
            near = difflib.get_close_matches(key, [*POSTGRES_PARAMETERS, *kinds], n=1)
            hint = (
                f"; did you mean {near[0]!r}?"
                if near
                else f"; it takes {', '.join(sorted(kinds))}, sslmode ..."
            )
            raise StoreUrlError(f"a PostgreSQL address takes no parameter {key!r}{hint}")
    named = dict(kept)
    if "sslmode" in named and named["sslmode"] not in SSL_MODES:
        raise StoreUrlError(f"sslmode {named['sslmode']!r} is none of {', '.join(SSL_MODES)}")
    database = parts.path.lstrip("/") or named.get("dbname") or named.get("database") or ""
    if not database:
        raise StoreUrlError(f"the PostgreSQL address names no database; try '{EXAMPLES['postgresql']}'")
    host = parts.netloc.rpartition("@")[2] or named.get("host", "")
    dsn = f"postgresql://{parts.netloc}{parts.path}" + (f"?{urlencode(kept)}" if kept else "")
    place = host if port or "," in host or host.startswith("/") else f"{host or 'localhost'}:5432"
    return PostgresStore(dsn, PostgresSettings(**ours), label=f"postgresql://{place}/{database}")


def _postgres_setting(key: str, value: str, kind: str) -> int | bool:
    if kind == "bool":
        if value.lower() in ("true", "1", "yes", "on", ""):
            return True
        if value.lower() in ("false", "0", "no", "off"):
            return False
        raise StoreUrlError(f"{key}={value!r} must be true or false")
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 1 << 31):
        raise StoreUrlError(f"{key}={value!r} must be a whole number above 0")
    return int(value)


def _unknown(url: str, scheme: str, *, has_scheme: bool) -> str:
    if not url.strip():
        return f"the store's address is empty; try '{EXAMPLES['sqlite']}'"
    near = difflib.get_close_matches(scheme, EXAMPLES, n=1)
    if not has_scheme:
        example = EXAMPLES[near[0]] if near and "/" not in url else f"sqlite:///{url.strip()}"
        return f"{url!r} is not a store's address; try '{example}'"
    if near or scheme == "file":
        return f"{scheme!r} is no kind of store; try '{EXAMPLES[near[0] if near else 'sqlite']}'"
    return f"{scheme!r} is no kind of store; there are: {', '.join(sorted(EXAMPLES.values()))}"
