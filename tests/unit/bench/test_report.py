from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

from bench.report import report, run_names
from tests.unit.bench.results import made_up


def data(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return dataclasses.asdict(made_up(*args, **kwargs))


class _Page(HTMLParser):
    """Which elements are open at the end, what is asked for, and what the page says."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked_for: list[str] = []
        self.text: list[str] = []
        self.counts: dict[str, int] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)
        self.asked_for += [str(value) for key, value in attrs if key in ("src", "href", "srcset", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, text: str) -> None:
        self.text.append(text)


def test_the_page_of_a_run_shows_every_kind_of_figure() -> None:
    page = _Page(report([data()]))
    text = " ".join(page.text)
    for title in (
        "Latency over time",
        "Latency by percentile",
        "Throughput",
        "CPU, 100 = one core",
        "Memory of the server",
        "Validity and losses",
        "Stages",
    ):
        assert title in text
    assert "Passed: valid, nothing lost" in text
    assert page.counts["figure"] >= 8
    assert page.open == []


def test_the_page_asks_for_nothing() -> None:
    page = report([data(), data("another")])
    assert _Page(page).asked_for == []
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert re.findall(r"url\(", page) == []


def test_an_invalid_run_and_a_failed_one_say_so_and_why() -> None:
    text = " ".join(_Page(report([data(reasons=("it was late",), failures=("3 were lost",))])).text)
    assert "Invalid" in text
    assert "it was late" in text
    assert "Failed" in text
    assert "3 were lost" in text
    assert "Passed" not in text


def test_runs_side_by_side_have_ratios_to_the_first() -> None:
    page = report([data("ours", latency_ms=2.0), data("theirs", latency_ms=5.0)])
    text = " ".join(_Page(page).text)
    assert "2 runs side by side" in text
    assert "2.50 x" in text
    assert text.count("Latency by percentile") == 3


def test_runs_of_different_loads_are_not_put_into_one_table() -> None:
    runs = [data(label, scenario=load) for load in ("typing", "dense") for label in ("ours", "theirs")]
    page = _Page(report(runs))
    headings = [text for text in page.text if text.endswith(": side by side")]
    assert headings == ["typing: side by side", "dense: side by side"]
    assert page.open == []


def test_runs_that_have_nothing_beside_them_are_shown_whole_and_not_folded() -> None:
    page = report([data("ours", scenario="typing"), data("ours", scenario="dense")])
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["typing", "dense"]
    assert page.count("<figcaption>Latency by percentile") == 2
    assert ": the whole run</summary>" not in page
    assert "side by side" not in page


def test_what_a_result_says_cannot_become_markup() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    one = data(evil, scenario=evil, reasons=(evil,), failures=(evil,))
    one["notes"] = [evil]
    one["stages"][0]["name"] = evil
    one["target"]["urls"] = [evil]
    page = report([one, data(evil, scenario="other")], evil)
    assert "<script>alert" not in page
    assert "<img" not in page
    parsed = _Page(page)
    assert parsed.open == []
    for figures in re.findall(r'<script type="application/json">(.*?)</script>', page):
        json.loads(figures)


def test_percentiles_that_nobody_measured_are_not_drawn() -> None:
    page = report([data()])  # 1,000 values: the last one is the 99.9th percentile
    curve = page.split("<figcaption>Latency by percentile")[1].split("</figure>")[0]
    assert "99.9 %" in curve
    assert "99.99 %" not in curve


def test_a_result_with_hardly_anything_in_it_still_makes_a_page() -> None:
    page = _Page(report([{"format": "collab-bench/1"}]))
    assert "Nothing was measured." in " ".join(page.text)
    assert page.open == []


def test_a_run_of_hours_stays_small_and_keeps_its_peak() -> None:
    long = data(seconds=40_000)
    long["series"]["p99_ms"][31_234] = 777.0
    page = report([long])
    assert len(page) < 1_000_000
    assert "777.0" in page


def test_runs_get_different_names() -> None:
    same = [data("ours"), data("ours"), data("theirs")]
    assert run_names(same) == ["ours #1", "ours #2", "theirs"]
    mixed = [data("ours"), data("ours", scenario="dense")]
    assert run_names(mixed) == ["ours · typing", "ours · dense"]
