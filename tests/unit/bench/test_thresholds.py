"""``--fail-if``: comparisons that can be read, and what is said of those that cannot."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.thresholds import parse_threshold


@pytest.mark.parametrize(
    ("text", "value", "violated"),
    [
        ("p99_ms > 50", 50.1, True),
        ("p99_ms > 50", 50, False),
        ("p99_ms>=50", 50, True),
        ("  p99_ms  <  1_000.5 ", 1000, True),
        ("p99_ms <= 1e3", 1001, False),
        ("p99_ms == 0", 0, True),
        ("p99_ms != 0", 0, False),
        ("p99_ms > 50", None, True),
    ],
)
def test_a_comparison_holds_or_does_not(text: str, value: float | None, violated: bool) -> None:
    assert parse_threshold(text).violated_by({"p99_ms": value}) is violated


@pytest.mark.parametrize("text", ["", "p99_ms", "p99_ms >", "> 50", "p99_ms > x", "p99_ms => 5", "a > 1; b"])
def test_what_is_no_comparison_is_shown_how_one_looks(text: str) -> None:
    with pytest.raises(BenchError, match="it looks like 'p99_ms > 50'"):
        parse_threshold(text)


def test_a_typing_error_in_a_figure_is_guessed() -> None:
    with pytest.raises(BenchError, match="no figure 'p9_ms'; did you mean 'p99_ms'"):
        parse_threshold("p9_ms > 50")
