"""The settings as tables: for a terminal, for JSON, and for the documentation."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, get_args

from collab_server.config import Settings, is_list, plain, shown
from collab_server.settings_sources import Loaded, bounds


def as_text(loaded: Loaded) -> str:
    """What is in force and where each value came from, one setting a line, aligned."""
    rows = [
        (key, shown(key, getattr(loaded.settings, key)), loaded.origins[key]) for key in Settings.model_fields
    ]
    return aligned([("SETTING", "VALUE", "FROM"), *rows])


def as_data(loaded: Loaded) -> dict[str, dict[str, Any]]:
    """The same for a program: ``{key: {value, from}}``."""
    return {
        key: {"value": plain(key, getattr(loaded.settings, key)), "from": loaded.origins[key]}
        for key in Settings.model_fields
    }


def as_markdown() -> str:
    """Every setting with its default, its bounds and what it does, for the documentation."""
    lines = ["| setting | default | allowed | what it does |", "|---|---|---|---|"]
    for key, field in Settings.model_fields.items():
        default = "" if field.default in {None, ()} else f"`{shown(key, field.default)}`"
        lines.append(f"| `{key}` | {default} | {_allowed(key)} | {field.description} |")
    return "\n".join(lines) + "\n"


def aligned(rows: list[tuple[str, ...]]) -> str:
    """Rows as columns that line up, the last one ragged."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _allowed(key: str) -> str:
    annotation = Settings.model_fields[key].annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(str(choice.value) for choice in annotation)
    if annotation is bool:
        return "true, false"
    if is_list(key):
        return "texts, with commas"
    least, above, most = bounds(key)
    if most is not None and least is not None:
        return f"{_short(key, least)} to {_short(key, most)}"
    if most is not None and above is not None:
        return f"over {_short(key, above)}, to {_short(key, most)}"
    return "a file" if Path in get_args(annotation) else "text"


def _short(key: str, value: float) -> str:
    return shown(key, int(value) if value == int(value) else value)
