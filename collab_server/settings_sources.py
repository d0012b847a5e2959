"""Settings from their sources: defaults < TOML file < environment ``COLLAB_*`` < flags.

Every value keeps where it came from. Whatever is wrong is a ``ConfigError`` of one line, in the words of the
person who wrote it: the key as they spelled it, the place, and what would be right.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from collab_server.config import Settings, is_list, masked
from collab_server.errors import ConfigError

PREFIX = "COLLAB_"
CONFIG_VARIABLE = "COLLAB_CONFIG"
TEST_PREFIX = "COLLAB_TEST_"
DEFAULT_FILE = "collab-server.toml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and for each key where its value came from."""

    settings: Settings
    origins: Mapping[str, str]
    """``default``, ``FILE line N``, the environment variable's name, or the flag."""


@dataclass(frozen=True, slots=True)
class _Given:
    """One value as somebody wrote it."""

    value: Any
    origin: str
    spelled: str
    from_text: bool


def load(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    config_file: str | Path | None = None,
    folder: Path | None = None,
) -> Loaded:
    """Read all sources and return what is in force.

    Args:
        flags: values by key, as typed on the command line; None values are taken as not given.
        environment: the process's environment; only ``COLLAB_*`` is looked at.
        config_file: a TOML file that must exist. Without it ``COLLAB_CONFIG``, then ``collab-server.toml`` in
            ``folder`` where there is one.
        folder: where the default file is looked for; the current folder if None.

    Raises:
        ConfigError: one clear line.
    """
    environment = environment or {}
    given: dict[str, _Given] = {}
    path = _find_file(config_file, environment, folder or Path())
    if path is not None:
        given.update(_from_file(path))
    given.update(_from_environment(environment))
    for key, value in (flags or {}).items():
        # A flag that may be given more than once is an empty tuple when it was not.
        if value is not None and value != ():
            flag = "--" + key.replace("_", "-")
            given[_known(key, flag, "on the command line")] = _Given(value, flag, flag, from_text=True)
    return Loaded(_validated(given), {key: given[key].origin if key in given else "default" for key in _KEYS})


_KEYS = tuple(Settings.model_fields)


def _find_file(config_file: str | Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    named = config_file or environment.get(CONFIG_VARIABLE) or None
    if named is None:
        path = folder / DEFAULT_FILE
        return path if path.exists() else None
    return Path(named)


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        text = path.read_bytes().decode("utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    given: dict[str, _Given] = {}
    for key, value in table.items():
        place = _place(path, text, key)
        if isinstance(value, dict) and key not in Settings.model_fields:
            raise ConfigError(
                f"{place}: settings are not in tables, but [{key}] is one; write the keys at the top"
            )
        given[_known(key, key, place)] = _Given(value, place, key, from_text=False)
    return given


def _place(path: Path, text: str, key: str) -> str:
    pattern = re.compile(rf"\s*\[?\[?\s*[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.match(line):
            return f"{path} line {number}"
    return str(path)


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or name.startswith(TEST_PREFIX):
            continue
        key = _known(name.removeprefix(PREFIX).lower(), name, "in the environment")
        given[key] = _Given(environment[name], name, name, from_text=True)
    return given


def _known(key: str, spelled: str, place: str) -> str:
    """The key, if there is such a setting; otherwise a ConfigError that suggests what was meant."""
    if key in Settings.model_fields:
        return key
    close = difflib.get_close_matches(key.lower().replace("-", "_"), _KEYS, n=1, cutoff=0.6)
    hint = "; `collab-server config` lists them all"
    if close:
        if spelled.startswith("--"):
            meant = "--" + close[0].replace("_", "-")
        elif spelled.startswith(PREFIX):
            meant = PREFIX + close[0].upper()
        else:
            meant = close[0]
        hint = f"; did you mean {meant}?"
    where = (
        f"unknown setting {spelled} {place}"
        if place.startswith(("in ", "on "))
        else f"{place}: unknown setting {spelled}"
    )
    raise ConfigError(where + hint)


def _validated(given: Mapping[str, _Given]) -> Settings:
    for key, one in given.items():
        annotation = Settings.model_fields[key].annotation
        if isinstance(one.value, bool) and annotation is not bool:
            raise ConfigError(_wrong(key, one, "must not be true or false"))
    try:
        return Settings(**{key: one.value for key, one in given.items()})
    except ValidationError as error:
        problem = error.errors()[0]
    if not problem["loc"]:
        raise ConfigError(str(problem["ctx"]["error"]))
    key = str(problem["loc"][0])
    raise ConfigError(_wrong(key, given[key], _expectation(key, problem)))


def _wrong(key: str, one: _Given, expected: str) -> str:
    written = masked(key, str(one.value))
    if isinstance(one.value, bool):
        written = written.lower()
    if len(written) > 60:
        written = written[:57] + "..."
    where = f" ({one.origin})" if one.origin != one.spelled else ""
    return f"{one.spelled}{where} {expected}, but is {written!r}".replace("\n", " ")


def _expectation(key: str, problem: ErrorDetails) -> str:
    """What a value has to be, from the field's own bounds."""
    wanted = _type(key)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return "must be one of " + ", ".join(str(choice.value) for choice in wanted)
    if wanted is bool:
        return "must be true or false"
    if wanted in {int, float}:
        kind = "a whole number" if wanted is int else "a number"
        if "bytes" in key:
            kind += " of bytes (16MiB and 64k work too)"
        return f"must be {kind}{_range(key)}"
    if is_list(key):
        return "must be text, or a list of texts"
    if problem["type"] == "string_too_short":
        return "must not be empty"
    return "must be text"


def _type(key: str) -> Any:
    """The type of a setting, whether it may be left out or not."""
    annotation = Settings.model_fields[key].annotation
    given = [part for part in get_args(annotation) if part is not NoneType]
    return given[0] if isinstance(annotation, UnionType) and len(given) == 1 else annotation


def _range(key: str) -> str:
    least, above, most = bounds(key)
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}" if most < 1e6 else f" from {least} to {most}"
    if above is not None and most is not None:
        return f" above {above:g} and up to {most:g}"
    return ""


def bounds(key: str) -> tuple[float | None, float | None, float | None]:
    """The setting's least value, the value that it must be above, and its greatest value."""
    found: dict[str, float] = {}
    for part in Settings.model_fields[key].metadata:
        for name in ("ge", "gt", "le"):
            if hasattr(part, name):
                found[name] = getattr(part, name)
    return found.get("ge"), found.get("gt"), found.get("le")
