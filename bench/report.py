"""The HTML report: one file that asks for nothing else, readable on any machine, today and in ten years.

It draws what a result holds and computes nothing new, apart from ratios between runs. The text of a result is
not trusted: labels and addresses are escaped, and a policy in the page forbids everything from outside.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.chart import COLOURS, Chart, Line, svg
from bench.histogram import Histogram

Result = dict[str, Any]
"""A result as JSON has it (``RunResult.to_json``)."""

LIMIT_MS = 50.0
"""What the product promises at the 99th percentile; drawn as a line where it is in view."""

_ASSETS = Path(__file__).parent / "report_assets"
_PERCENTILES = (0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999)
_MARKED_PERCENTILES = (0, 50, 90, 99, 99.9, 99.99, 99.999)
_MB = 1024 * 1024


def report(results: Sequence[Result], title: str = "") -> str:
    """The page for one run, or for several side by side; the first is what the others are compared with."""
    if not results:
        raise ValueError("a report needs at least one result")
    names = run_names(results)
    are_alone = len({_scenario(result) for result in results}) == len(results)
    several = f"{len(results)} runs" if are_alone else f"{len(results)} runs side by side"
    title = title or (names[0] if len(results) == 1 else several)
    body = [f"<h1>{escape(title)}</h1>"]
    if len(results) == 1:
        body += [_about(results[0]), *_run(results[0])]
    else:
        # Runs of different loads do not compare: each load gets a table and drawings of its own.
        for scenario in dict.fromkeys(_scenario(result) for result in results):
            body += _group([result for result in results if _scenario(result) == scenario])
    return _page(title, "\n".join(body))


def _group(results: Sequence[Result]) -> list[str]:
    """The runs of one scenario."""
    names = run_names(results)
    if len(results) == 1:  # nothing to put it beside: it is shown as if it were alone
        return [f"<h2>{escape(_scenario(results[0]))}</h2>", _about(results[0]), *_run(results[0])]
    parts = _beside(results, names)
    for at, (name, result) in enumerate(zip(names, results, strict=True)):
        parts.append(f"<details><summary>{_key(at)}{escape(name)}: the whole run</summary>")
        parts += [_about(result), *_run(result), "</details>"]
    return parts


def run_names(results: Sequence[Result]) -> list[str]:
    """A short name for each run, all different."""
    scenarios = {_scenario(result) for result in results}
    names = []
    for result in results:
        label = str(result.get("label") or result.get("target", {}).get("label") or "")
        name = (
            f"{label} · {_scenario(result)}" if label and len(scenarios) > 1 else label or _scenario(result)
        )
        names.append(name)
    counts = {name: names.count(name) for name in names}
    seen: dict[str, int] = {}
    for at, name in enumerate(names):
        if counts[name] > 1:
            seen[name] = seen.get(name, 0) + 1
            names[at] = f"{name} #{seen[name]}"
    return names


def _scenario(result: Result) -> str:
    return str(result.get("scenario", {}).get("name", "run"))


# One run


def _about(result: Result) -> str:
    scenario, counts = result.get("scenario", {}), result.get("counts", {})
    machine = result.get("harness", {}).get("machine", {})
    edits = scenario.get("edits") or {}
    parts = [
        f"{_number(counts.get('clients', scenario.get('clients')))} clients in "
        f"{_number(counts.get('rooms'))} rooms",
        f"{edits['rate_per_s']:g} edits/s a writer" if edits.get("rate_per_s") else "",
        f"{_number(result.get('measured_s'))} s measured",
        ", ".join(result.get("target", {}).get("urls", [])[:4]),
        str(result.get("started_at", "")),
        f"{machine.get('cpus')} x {machine.get('cpu_model')}" if machine.get("cpu_model") else "",
    ]
    about = " · ".join(escape(part) for part in parts if part)
    return f"<p>{escape(str(scenario.get('summary', '')))}</p><p class='soft'>{about}</p>"


def _run(result: Result) -> list[str]:
    return [
        *_verdicts(result),
        _tiles(result),
        f'<div class="charts">{"".join(_charts(result))}</div>',
        "<p class='soft'>Tinted: what counts. Latency runs from when an edit was due to its arrival.</p>",
        _stages(result),
        _losses(result),
        _all_figures(result),
    ]


def _verdicts(result: Result) -> list[str]:
    validity, failures = result.get("validity", {}), list(result.get("failures", []))
    found = []
    if not validity.get("valid", True):
        found.append(
            _verdict("warn", "Invalid: the generator was the bottleneck.", validity.get("reasons", []))
        )
    if failures:
        found.append(_verdict("bad", "Failed.", failures))
    elif validity.get("valid", True):
        found.append(_verdict("good", "Passed: valid, nothing lost, nothing twice, all replicas equal.", []))
    if result.get("notes"):
        found.append(_verdict("", "Notes", result["notes"]))
    return found


def _verdict(kind: str, head: str, sentences: Sequence[object]) -> str:
    items = "".join(f"<li>{escape(str(sentence))}</li>" for sentence in sentences)
    return f'<div class="verdict {kind}"><b>{escape(head)}</b>{f"<ul>{items}</ul>" if items else ""}</div>'


def _tiles(result: Result) -> str:
    latency, counts, server = (result.get(key) or {} for key in ("latency", "counts", "server"))
    rate = _rate(result, "delivered")
    tiles = [
        ("latency p50", latency.get("p50_ms"), "ms"),
        ("latency p99", latency.get("p99_ms"), "ms"),
        ("latency p99.9", latency.get("p999_ms"), "ms"),
        ("deliveries/s", rate, ""),
        ("server CPU", server.get("cpu_percent"), "%"),
        ("CPU per delivery", server.get("cpu_us_per_delivery"), "µs"),
        ("memory per connection", _over(server.get("bytes_per_connection"), 1024), "KiB"),
        ("lost", counts.get("lost"), ""),
    ]
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{_number(value)}<small>{unit}</small></b><span>{name}</span></div>'
            for name, value, unit in tiles
        )
        + "</div>"
    )


def _charts(result: Result) -> list[str]:
    series = result.get("series", {})
    seconds = series.get("second", [])
    bands = _bands(result)

    def chart(title: str, unit: str, lines: Sequence[Line], *, log: bool = False, limit: bool = False) -> str:
        lines = [line for line in lines if any(y is not None for y in line.ys)]
        mark = (LIMIT_MS, f"{LIMIT_MS:g} ms") if limit else None
        return svg(Chart(title, unit, seconds, lines, bands=bands, log=log, limit=mark))

    def line(name: str, key: str, colour: int, scale: float = 1.0, *, dashed: bool = False) -> Line:
        ys = [None if y is None else y / scale for y in series.get(key, [])]
        return Line(name, ys, colour, dashed)

    latency = [line("p50", "p50_ms", 0), line("p99", "p99_ms", 1), line("worst", "max_ms", 7, dashed=True)]
    curves = [("edits", result.get("latency")), ("awareness", result.get("awareness"))]
    curves += [("joins", result.get("join")), ("reconnects", result.get("reconnect"))]
    charts = [
        chart("Latency over time", "ms", latency, log=True, limit=True),
        _percentiles([(name, histo, at) for at, (name, histo) in enumerate(curves)]),
        chart(
            "Throughput",
            "messages/s",
            [
                line("delivered", "delivered", 0),
                line("awareness delivered", "awareness_delivered", 2),
                line("sent", "sent", 1),
            ],
        ),
        chart("Received by the clients", "MB/s", [line("bytes", "bytes_received", 0, 1e6)]),
        chart(
            "CPU, 100 = one core",
            "%",
            [
                line("server", "server_cpu_percent", 0),
                line("busiest generator process", "generator_cpu_percent", 1, dashed=True),
            ],
        ),
        chart("Memory of the server", "MiB", [line("resident", "server_rss_bytes", 0, _MB)]),
        chart(
            "Connections",
            "",
            [
                line("open at the clients", "connected", 0),
                line("open at the server", "server_connections", 1, dashed=True),
            ],
        ),
    ]
    lag = [
        line("generator, p99 of how late it sent", "generator_lag_ms", 1, dashed=True),
        line("server, event loop", "server_loop_lag_ms", 0),
    ]
    charts.append(chart("Lag", "ms", lag))
    return charts


def _percentiles(curves: Sequence[tuple[str, Any, int]]) -> str:
    """Latency by percentile; the axis gives each further nine as much room as the last."""
    xs = [-math.log10(1 - percent / 100) for percent in _PERCENTILES]
    lines = []
    for name, histo, colour in curves:
        decoded = _decoded(histo)
        if decoded is not None and decoded.count:
            # A percentile beyond the last value would be a promise that nobody measured.
            ys = [
                decoded.percentile(percent) / 1000 if decoded.count * (1 - percent / 100) >= 0.999 else None
                for percent in _PERCENTILES
            ]
            lines.append(Line(name, ys, colour))
    known = [at for at in range(len(xs)) if any(line.ys[at] is not None for line in lines)]
    last = (known[-1] if known else 0) + 1
    names = [f"p{percent:g}" for percent in _PERCENTILES]
    marks = [
        (x, f"{percent:g} %")
        for x, percent in zip(xs, _PERCENTILES, strict=True)
        if percent in _MARKED_PERCENTILES
    ]
    return svg(
        Chart(
            "Latency by percentile",
            "ms",
            xs[:last],
            lines,
            x_title="percentile",
            x_marks=marks,
            x_names=names[:last],
            log=True,
            limit=(LIMIT_MS, f"{LIMIT_MS:g} ms"),
        )
    )


def _bands(result: Result) -> list[tuple[float, float, str]]:
    stages = result.get("stages", [])
    return [(s["begin_s"], s["end_s"], f"measured: {s['name']}") for s in stages if s.get("measured")]


def _stages(result: Result) -> str:
    rows = []
    for stage in result.get("stages", []):
        latency = stage.get("latency") or {}
        rows.append(
            [
                escape(str(stage.get("name")))
                + ("" if stage.get("measured") else " <small>not measured</small>"),
                f"{_number(stage.get('begin_s'))} to {_number(stage.get('end_s'))} s",
                *(_number(stage.get(key)) for key in ("sent", "delivered")),
                *(_number(latency.get(key)) for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms")),
            ]
        )
    return "<h3>Stages</h3>" + _table(
        ["stage", "when", "sent", "delivered", "p50 ms", "p99 ms", "p99.9 ms", "worst ms"], rows
    )


def _losses(result: Result) -> str:
    counts, generator = result.get("counts", {}), result.get("generator", {})
    kept = [
        ("lost", "lost"),
        ("twice", "duplicated"),
        ("reordered", "reordered"),
        ("unequal", "unconverged"),
        ("of replicas", "replicas_compared"),
        ("refused", "connections_failed"),
        ("dropped", "connections_dropped"),
        ("errors", "errors"),
    ]
    own = [
        ("generator CPU %", "cpu_percent_max"),
        ("late p99 ms", "lag_p99_ms"),
        ("late worst ms", "lag_max_ms"),
    ]
    head = [name for name, _ in [*kept, *own]]
    row = [_number(counts.get(key)) for _, key in kept] + [_number(generator.get(key)) for _, key in own]
    note = (
        "<p class='soft'>Counts of the whole run. Late: how long after its due time the generator sent.</p>"
    )
    return "<h3>Validity and losses</h3>" + _table(head, [row]) + note


def _all_figures(result: Result) -> str:
    rows: list[list[str]] = []
    for part in ("scenario", "target", "options", "counts", "measured", "server", "generator", "harness"):
        data = result.get(part)
        if isinstance(data, dict):
            for key, value in data.items():
                if value is not None and key not in ("metrics_before", "metrics_after"):
                    rows.append([f"{part}.{escape(str(key))}", f"<code>{escape(str(value))}</code>"])
    table = _table(["figure", "value"], rows, kind="words")
    return f"<details><summary>All figures of this run</summary>{table}</details>"


# Several runs

_BESIDE: tuple[tuple[str, str, str, bool | None], ...] = (
    # name, part of the result, key, whether lower is better (None: neither)
    ("p50 ms", "latency", "p50_ms", True),
    ("p90 ms", "latency", "p90_ms", True),
    ("p99 ms", "latency", "p99_ms", True),
    ("p99.9 ms", "latency", "p999_ms", True),
    ("worst ms", "latency", "max_ms", True),
    ("awareness p99 ms", "awareness", "p99_ms", True),
    ("join p99 ms", "join", "p99_ms", True),
    ("sent/s", "", "sent", None),
    ("deliveries/s", "", "delivered", None),
    ("server CPU %", "server", "cpu_percent", True),
    ("CPU µs per delivery", "server", "cpu_us_per_delivery", True),
    ("bytes per connection", "server", "bytes_per_connection", True),
    ("server memory, most, MiB", "server", "rss_max_bytes", True),
    ("lost", "counts", "lost", True),
    ("twice", "counts", "duplicated", True),
    ("unequal replicas", "counts", "unconverged", True),
    ("dropped connections", "counts", "connections_dropped", True),
)


def _beside(results: Sequence[Result], names: Sequence[str]) -> list[str]:
    rows = []
    for name, part, key, lower in _BESIDE:
        values = [_rate(r, key) if not part else _figure(r, part, key) for r in results]
        if key == "rss_max_bytes":
            values = [_over(value, _MB) for value in values]
        known = [value for value in values if value is not None]
        if not known:
            continue
        best = min(known) if lower and len(set(known)) > 1 else None
        cells = [name]
        for at, value in enumerate(values):
            ratio = ""
            if at and value is not None and values[0]:
                ratio = f"<small>{value / values[0]:.2f} x</small>"
            text = _number(value) + ratio
            cells.append(f"<b>{text}</b>" if value is not None and value == best else text)
        rows.append(cells)
    rows.append(
        ["valid", *("yes" if r.get("validity", {}).get("valid", True) else "<b>no</b>" for r in results)]
    )
    rows.append(["passed", *("<b>no</b>" if r.get("failures") else "yes" for r in results)])
    head = ["", *(f"{_key(at)}{escape(name)}" for at, name in enumerate(names))]
    first = escape(names[0])
    note = f'<p class="soft">Ratios are to the first run, {first}. The lowest of each line is bold.</p>'
    overlays = [
        _overlay(
            results, names, "p99 over time", "ms", "p99_ms", log=True, limit=(LIMIT_MS, f"{LIMIT_MS:g} ms")
        ),
        _percentiles(
            [(n, r.get("latency"), at) for at, (n, r) in enumerate(zip(names, results, strict=True))]
        ),
        _overlay(results, names, "Throughput", "deliveries/s", "delivered"),
        _overlay(results, names, "CPU of the server, 100 = one core", "%", "server_cpu_percent"),
        _overlay(results, names, "Memory of the server", "MiB", "server_rss_bytes", scale=_MB),
        _overlay(results, names, "Received by the clients", "MB/s", "bytes_received", scale=1e6),
    ]
    return [
        f"<h2>{escape(_scenario(results[0]))}: side by side</h2>",
        note,
        _table(head, rows),
        f'<div class="charts">{"".join(overlays)}</div>',
    ]


def _overlay(
    results: Sequence[Result],
    names: Sequence[str],
    title: str,
    unit: str,
    key: str,
    *,
    scale: float = 1.0,
    log: bool = False,
    limit: tuple[float, str] | None = None,
) -> str:
    longest = max((r.get("series", {}).get("second", []) for r in results), key=len)
    lines = []
    for at, (name, result) in enumerate(zip(names, results, strict=True)):
        ys = [None if y is None else y / scale for y in result.get("series", {}).get(key, [])]
        if any(y is not None for y in ys):
            lines.append(Line(name, ys + [None] * (len(longest) - len(ys)), at))
    return svg(Chart(title, unit, longest, lines, log=log, limit=limit))


# Small parts


def _key(at: int) -> str:
    return f'<span class="key" style="background:var(--s{at % COLOURS + 1})"></span>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _decoded(histo: Any) -> Histogram | None:
    text = (histo or {}).get("hdr")
    if not text:
        return None
    try:
        return Histogram.decode(text)
    except ValueError:
        return None


def _figure(result: Result, part: str, key: str) -> float | None:
    data = result.get(part) or {}
    if part in ("latency", "awareness", "join") and not data.get("count"):
        return None
    value = data.get(key)
    return None if value is None else float(value)


def _rate(result: Result, key: str) -> float | None:
    """Messages a second of the measured stages."""
    count, seconds = (result.get("measured") or {}).get(key), result.get("measured_s")
    return float(count) / float(seconds) if count is not None and seconds else None


def _over(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def _number(value: object) -> str:
    """Three digits that matter, thousands grouped; a dash for what is unknown."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape(str(value))
    if isinstance(value, int) or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _page(title: str, body: str) -> str:
    style = (_ASSETS / "report.css").read_text()
    script = (_ASSETS / "report.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n"
        f"<body><main>\n{body}\n</main>\n<script>{script}</script></body></html>\n"
    )
