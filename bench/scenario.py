"""Scenarios: what clients do, and when, as data.

A scenario is a TOML file; ``docs/bench.md`` shows every key. Loads are described as in k6: a list of stages,
each of which says what holds at its end, with straight lines between. Everything that is random comes from
``seed``, so that a run can be repeated and its schedule is fixed before it begins.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from bench.errors import BenchError, meant

FOLDER = Path(__file__).parent / "scenarios"


class Arrival(StrEnum):
    """How the messages of one client are spread over time, at the same average rate."""

    EVEN = "even"
    """Equal gaps, each client with an offset of its own."""
    POISSON = "poisson"
    """Independent of each other."""
    BURSTS = "bursts"
    """Runs of ``burst_messages`` at ``burst_rate_per_s``, with pauses between."""


class Timing(StrEnum):
    """Where the gaps of a replayed session come from."""

    RECORDED = "recorded"
    EVEN = "even"


@dataclass(frozen=True, slots=True)
class Document:
    """What the rooms hold before the first client comes."""

    bytes: int = 0
    """Size of the text. It is written in pieces of ``piece_chars``, as people would have typed it."""
    piece_chars: int = 40
    rest_s: float = 0.0
    """How long the rooms are left alone afterwards, so that the server puts them away."""


@dataclass(frozen=True, slots=True)
class Edits:
    """Writing text."""

    rate_per_s: float = 5.0
    """Messages of one writer a second, on average."""
    writers: float = 1.0
    """Share of the clients of a room that write; at least one does."""
    arrival: Arrival = Arrival.EVEN
    burst_messages: int = 20
    burst_rate_per_s: float = 8.0
    chars: int = 1
    """Characters in one message."""
    deletes: float = 0.1
    """Share of the messages that delete the last character instead."""
    replay: str = ""
    """A recorded session (``.yupd.gz``) that the writers of each room play, each one person of it."""
    timing: Timing = Timing.RECORDED
    """With ``replay``: whether the gaps are those of the recording, scaled to the rate, or equal."""
    gap_max_s: float = 5.0
    """With ``replay``: longer pauses of the recording are cut to this."""


@dataclass(frozen=True, slots=True)
class Cursors:
    """Awareness: a cursor that moves."""

    rate_per_s: float = 20.0
    clients: float = 1.0
    """Share of the clients of a room whose cursor moves; at least one does."""
    presence: bool = True
    """Whether the others say who they are, too, and renew it."""
    renew_s: float = 15.0
    arrival: Arrival = Arrival.EVEN
    burst_messages: int = 60
    burst_rate_per_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Pastes:
    """Large pieces of text at once."""

    rate_per_s: float = 0.02
    bytes: int = 50_000
    writers: float = 1.0
    arrival: Arrival = Arrival.POISSON


@dataclass(frozen=True, slots=True)
class Reconnects:
    """How clients lose their connection, and how they come back."""

    rate_per_s: float = 0.0
    """How often one client's connection is cut, on average."""
    pause_s: float = 1.0
    """How long it stays away: from half of this to one and a half times it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of the run. Shares and rates move in straight lines to what holds at its end."""

    name: str
    duration_s: float
    clients: float | None = None
    """Share of the clients that are connected at the end; as before when left out."""
    rate: float | None = None
    """Multiple of the scenario's rates at the end; as before when left out."""
    measured: bool = False
    """Whether what is due in it counts for the result."""
    cut: float = 0.0
    """Share of the clients whose connections are cut as it begins."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line changes in a scenario; None leaves it as it is."""

    clients: int | None = None
    rooms: int | None = None
    clients_per_room: int | None = None
    rate_per_s: float | None = None
    duration_s: float | None = None
    seed: int | None = None
    settle_s: float | None = None
    document_bytes: int | None = None
    rest_s: float | None = None
    replay: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load."""

    name: str
    summary: str
    stages: tuple[Stage, ...]
    clients: int = 100
    clients_per_room: int = 4
    seed: int = 1
    settle_s: float = 10.0
    """How long the last messages may take before they count as lost."""
    document: Document | None = None
    edits: Edits | None = None
    cursors: Cursors | None = None
    pastes: Pastes | None = None
    reconnects: Reconnects | None = None
    roots: tuple[str, ...] = ("notes",)
    """Texts of the document that the final comparison looks at; the first is written to."""

    @property
    def rooms(self) -> int:
        """How many rooms the clients fill."""
        return max(1, -(-self.clients // self.clients_per_room))

    @property
    def duration_s(self) -> float:
        """Seconds of all stages together."""
        return sum(stage.duration_s for stage in self.stages)

    @property
    def measured_s(self) -> float:
        """Seconds of the measured stages."""
        return sum(stage.duration_s for stage in self.stages if stage.measured)

    def with_overrides(self, changes: Overrides) -> Scenario:
        """The scenario with what the command line changes.

        Raises:
            BenchError: The result makes no sense.
        """
        new = self
        if changes.clients is not None:
            new = dataclasses.replace(new, clients=changes.clients)
        if changes.clients_per_room is not None:
            new = dataclasses.replace(new, clients_per_room=changes.clients_per_room)
        if changes.rooms is not None:
            if changes.rooms < 1:
                raise BenchError("--rooms: at least 1")
            new = dataclasses.replace(new, clients_per_room=max(1, -(-new.clients // changes.rooms)))
        if changes.seed is not None:
            new = dataclasses.replace(new, seed=changes.seed)
        if changes.settle_s is not None:
            new = dataclasses.replace(new, settle_s=changes.settle_s)
        if changes.rate_per_s is not None:
            new = new.with_rate(changes.rate_per_s)
        if changes.replay is not None:
            new = dataclasses.replace(
                new, edits=dataclasses.replace(new.edits or Edits(), replay=changes.replay)
            )
        if changes.document_bytes is not None or changes.rest_s is not None:
            document = new.document or Document()
            if changes.document_bytes is not None:
                document = dataclasses.replace(document, bytes=changes.document_bytes)
            if changes.rest_s is not None:
                document = dataclasses.replace(document, rest_s=changes.rest_s)
            new = dataclasses.replace(new, document=document)
        if changes.duration_s is not None:
            new = dataclasses.replace(new, stages=_stretched(new.stages, changes.duration_s))
        _check(new)
        return new

    def with_rate(self, rate_per_s: float) -> Scenario:
        """The rate of what the scenario is about: edits, or else cursors, or else pastes."""
        if self.edits is not None:
            return dataclasses.replace(self, edits=dataclasses.replace(self.edits, rate_per_s=rate_per_s))
        if self.cursors is not None:
            return dataclasses.replace(self, cursors=dataclasses.replace(self.cursors, rate_per_s=rate_per_s))
        if self.pastes is not None:
            return dataclasses.replace(self, pastes=dataclasses.replace(self.pastes, rate_per_s=rate_per_s))
        raise BenchError(f"--rate: the scenario {self.name!r} has no rate")

    def as_data(self) -> dict[str, Any]:
        """The scenario as JSON-able data; ``scenario_from_data`` reads it back."""
        data: dict[str, Any] = dataclasses.asdict(self)
        data["stages"] = [dataclasses.asdict(stage) for stage in self.stages]
        data["roots"] = list(self.roots)
        return data


def scenario_names() -> list[str]:
    """The scenarios that come with the harness."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_scenario(name_or_path: str) -> Scenario:
    """A scenario by its name, or from a file whose path ends in ``.toml``.

    Raises:
        BenchError: There is none, or the file says something that makes no sense.
    """
    is_path = name_or_path.endswith(".toml")
    path = Path(name_or_path) if is_path else FOLDER / f"{name_or_path}.toml"
    if not is_path and name_or_path not in scenario_names():
        raise BenchError(f"no scenario {name_or_path!r}; {meant(name_or_path, scenario_names())}")
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: {error}") from None
    if isinstance(data.get("edits"), dict) and data["edits"].get("replay"):
        data["edits"]["replay"] = str(path.parent / data["edits"]["replay"])
    return scenario_from_data({"name": path.stem, **data}, str(path) if is_path else name_or_path)


def scenario_from_data(data: dict[str, Any], source: str = "scenario") -> Scenario:
    """A scenario from the tables of its file.

    Raises:
        BenchError: An unknown key, a wrong type, or values that make no sense.
    """
    data = dict(data)
    stages = data.pop("stages", None)
    if not isinstance(stages, list) or not stages:
        raise BenchError(f"{source}: at least one [[stages]] is needed")
    built = tuple(_build(Stage, stage, f"{source}: stages[{at}]") for at, stage in enumerate(stages))
    parts: dict[str, Any] = {}
    for key, kind in _TABLES.items():
        table = data.pop(key, None)
        parts[key] = None if table is None else _build(kind, table, f"{source}: {key}")
    parts["stages"] = built
    scenario = _build(Scenario, data, source, **parts)
    _check(scenario, source)
    return scenario


_TABLES: dict[str, type] = {
    "document": Document,
    "edits": Edits,
    "cursors": Cursors,
    "pastes": Pastes,
    "reconnects": Reconnects,
}

T = TypeVar("T")


def _build(kind: type[T], table: object, where: str, **parts: Any) -> T:
    if not isinstance(table, dict):
        raise BenchError(f"{where}: a table was expected")
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values = dict(parts)
    for key, value in table.items():
        if key not in known or key in parts:
            raise BenchError(f"{where}: unknown key {key!r}; {meant(key, known - set(parts))}")
        values[key] = _value(hints[key], value, f"{where}: {key}")
    try:
        return kind(**values)
    except TypeError as error:
        missing = str(error).rpartition("argument")[2].strip("s: ")
        raise BenchError(f"{where}: {missing} is missing") from None


def _value(hint: Any, value: object, where: str) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not value:
            raise BenchError(f"{where}: a list was expected")
        return tuple(_value(get_args(hint)[0], each, where) for each in value)
    if get_args(hint):  # X | None
        if value is None:
            return None
        hint = next(each for each in get_args(hint) if each is not type(None))
    if hint is bool or isinstance(value, bool):
        ok = hint is bool and isinstance(value, bool)
    elif hint is float:
        ok = isinstance(value, int | float)
    elif isinstance(hint, type) and issubclass(hint, StrEnum):
        names = [member.value for member in hint]
        if value not in names:
            raise BenchError(f"{where}: {value!r} is not one of {', '.join(names)}")
        return hint(value)
    else:
        ok = isinstance(value, hint)
    if not ok:
        raise BenchError(f"{where}: {value!r} is not of the type {getattr(hint, '__name__', hint)}")
    return float(value) if hint is float else value  # type: ignore[arg-type]


def _check(scenario: Scenario, source: str | None = None) -> None:
    where = source or scenario.name

    def need(holds: bool, text: str) -> None:
        if not holds:
            raise BenchError(f"{where}: {text}")

    need(scenario.clients >= 1, "clients: at least 1")
    need(scenario.clients_per_room >= 1, "clients_per_room: at least 1")
    need(scenario.settle_s > 0, "settle_s: more than 0")
    for stage in scenario.stages:
        need(stage.duration_s >= 0, f"stage {stage.name!r}: duration_s is not negative")
        need(stage.clients is None or 0 <= stage.clients <= 1, f"stage {stage.name!r}: clients is 0 to 1")
        need(stage.rate is None or stage.rate >= 0, f"stage {stage.name!r}: rate is not negative")
        need(0 <= stage.cut <= 1, f"stage {stage.name!r}: cut is 0 to 1")
    need(any(stage.measured for stage in scenario.stages), "no stage is measured")
    need(scenario.duration_s > 0, "the stages take no time")
    for part in (scenario.edits, scenario.cursors, scenario.pastes):
        need(part is None or part.rate_per_s >= 0, "rate_per_s: not negative")
        if part is not None and not isinstance(part, Pastes):
            need(part.burst_messages >= 1, "burst_messages: at least 1")
            need(part.burst_rate_per_s > 0, "burst_rate_per_s: more than 0")
    if scenario.edits is not None:
        need(scenario.edits.chars >= 1, "edits: chars: at least 1")
        need(0 <= scenario.edits.deletes < 1, "edits: deletes: from 0 to below 1")


def _stretched(stages: tuple[Stage, ...], duration_s: float) -> tuple[Stage, ...]:
    """Stages that take ``duration_s`` together: the measured ones give or take what is needed."""
    rest = sum(stage.duration_s for stage in stages if not stage.measured)
    measured = sum(stage.duration_s for stage in stages if stage.measured)
    if duration_s <= rest or measured <= 0:
        raise BenchError(f"--duration: more than {rest:g} s, which ramps and pauses take")
    factor = (duration_s - rest) / measured
    return tuple(
        dataclasses.replace(stage, duration_s=stage.duration_s * factor) if stage.measured else stage
        for stage in stages
    )
