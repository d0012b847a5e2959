"""What a run has found, as data: the JSON that is written, compared and drawn."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.histogram import Histogram

FORMAT: Final = "collab-bench/1"
_MIB: Final = 1 << 20

Number = float | int | None


@dataclass(slots=True)
class RunResult:
    """One run. ``docs/bench.md`` explains every field; times are milliseconds where the name says ``ms``."""

    run_id: str
    started_at: str
    label: str
    harness: dict[str, Any]
    scenario: dict[str, Any]
    target: dict[str, Any]
    options: dict[str, Any]
    duration_s: float
    measured_s: float
    stages: list[dict[str, Any]]
    counts: dict[str, int]
    measured: dict[str, int]
    latency: dict[str, Any]
    awareness: dict[str, Any]
    connect: dict[str, Any]
    join: dict[str, Any]
    reconnect: dict[str, Any]
    series: dict[str, list[Any]]
    server: dict[str, Any]
    generator: dict[str, Any]
    validity: dict[str, Any]
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    format: str = FORMAT

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, duplicated, left unequal or cut off."""
        return not self.failures

    @property
    def is_valid(self) -> bool:
        """Whether it measured the server and not the generator."""
        return bool(self.validity["valid"])

    def summary(self) -> dict[str, Number]:
        """Flat figures by name, for thresholds and tables; None is unknown."""
        measured_s = self.measured_s or None
        figures: dict[str, Number] = {}
        for name in ("p50", "p90", "p99", "p999", "max", "mean"):
            figures[f"{name}_ms"] = self.latency[f"{name}_ms"]
        for prefix in ("awareness", "connect", "join", "reconnect"):
            times: dict[str, Any] = getattr(self, prefix)
            for name in ("p50", "p99", "max"):
                figures[f"{prefix}_{name}_ms"] = times[f"{name}_ms"]
        for name in COUNTED:
            figures[name] = self.counts[name]
        figures["sent_per_s"] = _ratio(self.measured["sent"], measured_s)
        figures["deliveries_per_s"] = _ratio(self.measured["delivered"], measured_s)
        figures["awareness_deliveries_per_s"] = _ratio(self.measured["awareness_delivered"], measured_s)
        server = self.server
        figures["server_cpu_percent"] = server["cpu_percent"]
        figures["server_cpu_us_per_delivery"] = server["cpu_us_per_delivery"]
        figures["server_rss_mb"] = None if server["rss_max_bytes"] is None else server["rss_max_bytes"] / _MIB
        figures["server_bytes_per_connection"] = server["bytes_per_connection"]
        figures["generator_cpu_percent"] = self.generator["cpu_percent_max"]
        figures["generator_lag_p99_ms"] = self.generator["lag_p99_ms"]
        return figures

    def to_json(self) -> str:
        """The result as one JSON object."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        """The inverse of ``to_json``. ValueError when it is not a result of this format."""
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"not a result of the format {FORMAT}")
        try:
            return cls(**data)
        except TypeError as error:
            raise ValueError(f"not a result: {error}") from None


COUNTED: Final = (
    "sent",
    "delivered",
    "caught_up",
    "lost",
    "duplicated",
    "reordered",
    "superseded",
    "awareness_lost",
    "unconverged",
    "replicas_compared",
    "connections_opened",
    "connections_failed",
    "connections_dropped",
    "reconnects",
    "errors",
)


def summary_names() -> list[str]:
    """The names of ``RunResult.summary``."""
    times = {
        "count": 0,
        **dict.fromkeys((f"{n}_ms" for n in ("p50", "p90", "p99", "p999", "max", "mean")), 0),
    }
    empty = RunResult(
        "", "", "", {}, {}, {}, {}, 0, 0, [], dict.fromkeys(COUNTED, 0),
        dict.fromkeys(("sent", "delivered", "awareness_delivered"), 0), times, times, times, times, times, {},
        dict.fromkeys(("cpu_percent", "cpu_us_per_delivery", "rss_max_bytes", "bytes_per_connection"), None),
        dict.fromkeys(("cpu_percent_max", "lag_p99_ms"), None), {"valid": True},
    )  # fmt: skip
    return list(empty.summary())


def times_of(histogram: Histogram) -> dict[str, Any]:
    """A histogram as the result shows it: figures in ms (None when it is empty), and the whole of it."""
    some = histogram.count > 0

    def ms(us: float) -> float | None:
        return round(us / 1000, 3) if some else None

    return {
        "count": histogram.count,
        "mean_ms": ms(histogram.mean_us),
        "min_ms": ms(histogram.min_us),
        "p50_ms": ms(histogram.percentile(50)),
        "p90_ms": ms(histogram.percentile(90)),
        "p99_ms": ms(histogram.percentile(99)),
        "p999_ms": ms(histogram.percentile(99.9)),
        "max_ms": ms(histogram.max_us),
        "hdr": histogram.encode(),
    }


def save_result(result: RunResult, path: Path) -> None:
    """Write a result. BenchError when it cannot be written."""
    try:
        path.write_text(result.to_json())
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None


def load_result(path: Path) -> RunResult:
    """Read a result. BenchError when there is none."""
    try:
        return RunResult.from_json(path.read_text())
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BenchError(f"{path}: {error}") from None


def _ratio(count: float, per: float | None) -> float | None:
    return None if not per else round(count / per, 3)
