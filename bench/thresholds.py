"""``--fail-if 'p99_ms > 50'``: what must not be, as one comparison of a figure with a number."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.errors import BenchError, meant
from bench.result import Number, summary_names

_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_SHAPE: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*([-+]?[\d_]*\.?\d+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A comparison that must not hold."""

    figure: str
    sign: str
    limit: float

    def violated_by(self, figures: Mapping[str, Number]) -> bool:
        """Whether it holds for these figures. One that was not measured violates: nothing was shown."""
        value = figures[self.figure]
        return value is None or _SIGNS[self.sign](value, self.limit)

    def __str__(self) -> str:
        return f"{self.figure} {self.sign} {self.limit:g}"


def parse_threshold(text: str) -> Threshold:
    """Read an expression.

    Raises:
        BenchError: It is none, or names a figure that there is not.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise BenchError(f"--fail-if: {text!r} is not a comparison; it looks like 'p99_ms > 50'")
    figure, sign, limit = match.groups()
    if figure not in summary_names():
        raise BenchError(f"--fail-if: no figure {figure!r}; {meant(figure, summary_names())}")
    return Threshold(figure, sign, float(limit))
