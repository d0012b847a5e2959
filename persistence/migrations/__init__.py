"""The scripts that bring a store's schema up to date, one folder for each kind of store."""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def migrations(dialect: str) -> tuple[str, ...]:
    """The scripts of one kind of store, in order; their number is the schema's version."""
    folder = resources.files(__name__) / dialect
    scripts = sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name
    )
    return tuple(script.read_text(encoding="utf-8") for script in scripts)
