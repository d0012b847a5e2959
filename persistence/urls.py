"""From the address of a store to the store: the only place that knows all kinds of them."""

from __future__ import annotations

import difflib
from pathlib import Path
from urllib.parse import unquote

from persistence.base import Store
from persistence.errors import StoreUrlError
from persistence.memory import MemoryStore
from persistence.sqlite import SqliteStore

EXAMPLES = {"sqlite": "sqlite:///data/collab.sqlite3", "memory": "memory:"}


def open_store(url: str) -> Store:
    """The store that ``url`` names, not yet opened: call its ``open()``.

    ``memory:`` keeps nothing after the process. ``sqlite:///data/x.sqlite3`` is relative to the working
    folder, ``sqlite:////var/lib/x.sqlite3`` (four slashes) is absolute; percent-encoding is decoded.

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
