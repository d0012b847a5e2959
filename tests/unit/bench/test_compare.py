from __future__ import annotations

from bench.cli_compare import run_of
from bench.compare import CASE_KEYS, IDLE, LOADED, Case, Run, Table, cases, cell, markdown, run_rounds, turns
from bench.repeats import Repeats
from tests.unit.bench.results import made_up

CASE, DENSE, _ROOM, IDLERS = cases(["4", "dense", "10", "idle"], 5.0, 100)
COST = next(figure for figure in LOADED if figure.name == "server_cpu_us_per_delivery")


def run(cost: float, p99: float = 5.0, **more: float) -> Run:
    return Run({"server_cpu_us_per_delivery": cost, "p99_ms": p99, **more})


def test_each_round_begins_with_another_server_and_leaves_none_out() -> None:
    assert turns(3, 4) == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_the_servers_take_turns_within_each_case() -> None:
    seen = []

    def measure(server: str, case: Case, number: int) -> Run:
        seen.append((number, case.key, server))
        return run(1.0)

    tables = [Table(CASE), Table(DENSE)]
    run_rounds(["a", "b"], tables, 2, measure)
    assert seen == [
        *[(0, "4", "a"), (0, "4", "b"), (0, "dense", "a"), (0, "dense", "b")],
        *[(1, "4", "b"), (1, "4", "a"), (1, "dense", "b"), (1, "dense", "a")],
    ]
    assert [len(table.runs["a"]) for table in tables] == [2, 2]


def test_the_table_has_medians_and_ratios_of_rounds() -> None:
    table = Table(CASE)
    for ours, theirs in ((10.0, 20.0), (30.0, 60.0), (11.0, 22.0)):
        table.add("ours", run(ours))
        table.add("theirs", run(theirs, p99=10.0))
    text = markdown([table], ["ours", "theirs"], "ours", {"ours": "Ours 1", "theirs": "Theirs 2"})
    lines = [line for line in text.splitlines() if line.startswith("| Theirs 2 ")]
    assert len(lines) == 1
    assert "22.00 (20.00 to 60.00)" in lines[0]
    assert lines[0].endswith("| 0.50 | 0.50 |")


def test_an_invalid_round_is_left_out_where_there_is_a_valid_one() -> None:
    table = Table(CASE)
    table.add("a", run(10.0))
    table.add("a", Run({"server_cpu_us_per_delivery": 99.0}, invalid=("it was late",)))
    assert table.values("a", COST) == [10.0, None]
    assert "1 of 2 rounds invalid (left out): it was late" in markdown([table], ["a"], None, {"a": "A"})


def test_without_a_valid_round_the_row_says_that_it_is_not_to_be_trusted() -> None:
    table = Table(CASE)
    table.add("a", Run({"server_cpu_us_per_delivery": 99.0}, invalid=("it was late",)))
    text = markdown([table], ["a"], None, {"a": "A"})
    assert table.values("a", COST) == [99.0]
    assert "| A (invalid) |" in text
    assert "do not trust it" in text


def test_a_server_that_did_not_run_has_dashes_and_a_reason() -> None:
    table = Table(CASE)
    table.add("a", run(10.0))
    table.add("b", Run(None, failures=("it did not come about: no such file",)))
    text = markdown([table], ["a", "b"], "a", {"a": "A", "b": "B"})
    assert "| B (invalid) | - |" in text
    assert "- B: 1 of 1 rounds failed: it did not come about: no such file" in text


def test_idle_connections_are_compared_by_memory() -> None:
    table = Table(IDLERS)
    table.add("ours", Run({"server_bytes_per_connection": 10 * 1024}))
    table.add("theirs", Run({"server_bytes_per_connection": 40 * 1024}))
    text = markdown([table], ["ours", "theirs"], "ours", {"ours": "Ours", "theirs": "Theirs"})
    assert "KiB per connection" in text
    assert "| Theirs | 40.0 |" in text
    assert text.count("0.25") == 1


def test_the_loads_are_those_that_were_asked_for() -> None:
    assert [case.key for case in cases(CASE_KEYS, 5.0, 100)] == list(CASE_KEYS)
    assert (DENSE.scenario.rooms, DENSE.scenario.clients) == (1, 50)
    double = cases(["dense"], 5.0, 100, load=2.0)[0].scenario
    assert double.edits is not None
    assert DENSE.scenario.edits is not None
    assert double.edits.rate_per_s == 2 * DENSE.scenario.edits.rate_per_s
    assert IDLERS.scenario.edits is None
    assert all(case.scenario.measured_s > 0 for case in (CASE, DENSE, IDLERS))
    assert Table(IDLERS).figures == IDLE


def test_a_range_is_not_shown_where_it_says_nothing() -> None:
    assert cell(Repeats((1.0, 1.0)), 1) == "1.0"
    assert cell(None, 1) == "-"


def test_a_late_generator_spoils_latencies_but_not_idle_memory() -> None:
    late = made_up(reasons=("sent late",))
    assert run_of(late, CASE).invalid == ("sent late",)
    assert run_of(late, IDLERS).is_valid


def test_failures_of_a_run_reach_the_table() -> None:
    assert run_of(made_up(failures=("2 were lost",)), IDLERS).failures == ("2 were lost",)
