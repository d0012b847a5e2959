"""Line charts as SVG text, without a library: what the report draws.

Colours are names of CSS variables (``--s1`` ...), so that one drawing serves light and dark. The points are
put beside the drawing as JSON, for the few lines of script that show values under the pointer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

COLOURS = 8
"""Colours that the style sheet has; more lines than that repeat them, dashed."""

_WIDTH, _HEIGHT = 720, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 34
_PLOT_WIDTH = _WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_POINTS_MAX = 1000

_Place = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Line:
    """One line; a gap where y is None."""

    name: str
    ys: Sequence[float | None]
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn. All lines share ``xs``; a shorter line ends earlier."""

    title: str
    unit: str
    xs: Sequence[float]
    lines: Sequence[Line]
    x_title: str = "seconds"
    x_marks: Sequence[tuple[float, str]] = ()
    """Places and names on the x axis; chosen when empty."""
    x_names: Sequence[str] = ()
    """What the pointer's box calls each x; the number itself when empty."""
    log: bool = False
    bands: Sequence[tuple[float, float, str]] = field(default=())
    """Stretches of x that are tinted: the measured stages."""
    limit: tuple[float, str] | None = None
    """A value that should not be passed."""


def svg(chart: Chart) -> str:
    """The chart as a ``<figure>``: title, legend, drawing. Says so when there is nothing to draw."""
    chart = _thinned(chart)
    values = [y for line in chart.lines for y in line.ys if y is not None and (y > 0 or not chart.log)]
    if not values or len(chart.xs) < 2:
        nothing = '<p class="nothing">Nothing was measured.</p>'
        return f"<figure><figcaption>{escape(chart.title)}</figcaption>{nothing}</figure>"
    if chart.limit is not None and max(values) > chart.limit[0] / 20:
        values.append(chart.limit[0])
    low, high, marks = (_log_axis if chart.log else _linear_axis)(values)
    x_low, x_high = min(chart.xs), max(chart.xs)

    def x_at(x: float) -> float:
        return _LEFT + (x - x_low) / ((x_high - x_low) or 1) * _PLOT_WIDTH

    def y_at(y: float) -> float:
        if chart.log:
            share = (math.log(max(y, low)) - math.log(low)) / (math.log(high) - math.log(low))
        else:
            share = (y - low) / (high - low)
        return _TOP + (1 - min(max(share, 0), 1)) * _PLOT_HEIGHT

    parts = [*_bands(chart, x_at), *_grid(chart, marks, x_at, y_at, x_low, x_high)]
    if chart.limit is not None and low <= chart.limit[0] <= high:
        at = y_at(chart.limit[0])
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="limit" x="{_LEFT + 6}" y="{at - 5:.1f}">{escape(chart.limit[1])}</text>')
    for line in chart.lines:
        parts += _line(line, chart, x_at, y_at)
    parts.append(f'<line class="hair" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" x1="0" x2="0"/>')
    label = f"{chart.title}, in {chart.unit}" if chart.unit else chart.title
    unit = f' <span class="unit">{escape(chart.unit)}</span>' if chart.unit else ""
    return (
        f'<figure class="chart"><figcaption>{escape(chart.title)}{unit}</figcaption>{_legend(chart)}'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
        f'<script type="application/json">{_data(chart, x_at)}</script></figure>'
    )


def amount(value: float) -> str:
    """A number for an axis: 12k, 1.5M, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _thinned(chart: Chart) -> Chart:
    """A run of hours has more seconds than the drawing has dots: keep the highest value of each stretch."""
    step = -(-len(chart.xs) // _POINTS_MAX)
    if step <= 1:
        return chart
    lines = []
    for line in chart.lines:
        stretches = [line.ys[at : at + step] for at in range(0, len(line.ys), step)]
        highest = [max((y for y in stretch if y is not None), default=None) for stretch in stretches]
        lines.append(Line(line.name, highest, line.colour, line.dashed))
    return Chart(
        chart.title,
        chart.unit,
        chart.xs[::step],
        lines,
        chart.x_title,
        chart.x_marks,
        chart.x_names[::step],
        chart.log,
        chart.bands,
        chart.limit,
    )


def _linear_axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    high = max(values) or 1.0
    step = _nice(high / 4)
    count = math.ceil(high / step - 1e-9)
    return 0.0, step * count, [step * at for at in range(count + 1)]


def _log_axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values)) + 1e-9)
    if high / low < 10:
        high = low * 10
    exponents = range(round(math.log10(low)), round(math.log10(high)) + 1)
    fine = len(exponents) <= 3
    marks = [10.0**exponent * step for exponent in exponents for step in ((1, 2, 5) if fine else (1,))]
    return low, high, [mark for mark in marks if mark <= high * 1.001]


def _nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 2.5, 5, 10) if power * step >= value * 0.999)


def _bands(chart: Chart, x_at: _Place) -> list[str]:
    parts = []
    for begin, end, name in chart.bands:
        left, right = x_at(max(begin, chart.xs[0])), x_at(min(end, chart.xs[-1]))
        if right > left:
            parts.append(
                f'<rect class="band" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" '
                f'height="{_PLOT_HEIGHT}"><title>{escape(name)}</title></rect>'
            )
    return parts


def _grid(
    chart: Chart, marks: Sequence[float], x_at: _Place, y_at: _Place, x_low: float, x_high: float
) -> list[str]:
    parts = []
    for mark in marks:
        at = y_at(mark)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{amount(mark)}</text>')
    x_marks = chart.x_marks
    if not x_marks:
        step = _nice(max(x_high - x_low, 1) / 8)
        count = int((x_high - x_low) / step + 1e-9)
        x_marks = [(x_low + step * at, amount(x_low + step * at)) for at in range(count + 1)]
    for x, name in x_marks:
        if x_low <= x <= x_high:
            at = x_at(x)
            parts.append(
                f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>'
            )
    base = _HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    middle = _LEFT + _PLOT_WIDTH / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(chart.x_title)}</text>')
    return parts


def _line(line: Line, chart: Chart, x_at: _Place, y_at: _Place) -> list[str]:
    pieces: list[list[str]] = [[]]
    for x, y in zip(chart.xs, line.ys, strict=False):
        if y is None or (chart.log and y <= 0):
            pieces.append([])
        else:
            pieces[-1].append(f"{x_at(x):.1f},{y_at(y):.1f}")
    kind = _kind(line)
    drawn = []
    for piece in pieces:
        if len(piece) == 1:
            left, top = piece[0].split(",")
            drawn.append(f'<circle class="{kind}" cx="{left}" cy="{top}" r="2"/>')
        elif piece:
            drawn.append(f'<polyline class="{kind}" points="{" ".join(piece)}"/>')
    return drawn


def _kind(line: Line) -> str:
    dashed = line.dashed or line.colour >= COLOURS
    return f"c{line.colour % COLOURS + 1}" + (" dashed" if dashed else "")


def _legend(chart: Chart) -> str:
    if len(chart.lines) < 2:
        return ""
    items = "".join(
        '<li><svg viewBox="0 0 18 6" aria-hidden="true">'
        f'<polyline class="{_kind(line)}" points="0,3 18,3"/></svg>{escape(line.name)}</li>'
        for line in chart.lines
    )
    return f'<ul class="legend">{items}</ul>'


def _data(chart: Chart, x_at: _Place) -> str:
    names = chart.x_names or [f"{x:g} s" for x in chart.xs]
    data = {
        "x": [round(x_at(x), 1) for x in chart.xs],
        "names": list(names),
        "unit": chart.unit,
        "lines": [
            {
                "name": line.name,
                "kind": _kind(line),
                "values": [None if y is None else float(f"{y:.4g}") for y in line.ys],
            }
            for line in chart.lines
        ],
    }
    # "</script>" in a name must not end the element.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
