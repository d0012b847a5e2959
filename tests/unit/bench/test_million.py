from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bench.million import Limits, node_scenario, outcome, shares, told
from bench.plan import Assumed, plan
from tests.unit.bench.results import made_up

GIB = 1024**3


def node(**kwargs: Any) -> dict[str, Any]:
    return dataclasses.asdict(made_up(idle_until_s=10, **kwargs))


@pytest.mark.parametrize(
    ("files", "gib", "nodes", "per_node", "expected", "because"),
    [
        (1024, 16, 4, 20_000, 824 * 4, "open files"),
        (1_000_000, 1, 4, 20_000, 12_526, "memory"),
        (1_000_000, 64, 4, 5_000, 20_000, "nodes"),
    ],
)
def test_the_tightest_limit_decides_and_is_named(
    files: int, gib: int, nodes: int, per_node: int, expected: int, because: str
) -> None:
    assert Limits(files, gib * GIB, nodes, per_node).connections_max()[0] == expected
    assert because in Limits(files, gib * GIB, nodes, per_node).connections_max()[1]


def test_nodes_get_whole_rooms_as_equal_as_can_be() -> None:
    assert shares(1000, 3, 4) == [336, 332, 332]
    assert sum(shares(1000, 3, 4)) == 1000
    assert shares(4, 2, 4) == [4, 4]


def test_nothing_is_written_before_the_trickle() -> None:
    scenario = node_scenario(1000, 4, 500, 10, 20, 0.1)
    rates = {stage.name: stage.rate for stage in scenario.stages}
    assert rates["hold-idle"] == 0
    assert rates["hold-trickle"] == 1
    assert scenario.measured_s == 20
    assert scenario.stages[0].duration_s == 2


def test_idle_cpu_is_counted_per_connection_and_taken_off_the_deliveries() -> None:
    found = outcome([node(cpu_percent=11.0), node(cpu_percent=11.0)], 4)
    measured = found.measured
    assert measured.connections == 80
    assert measured.idle_cpu_us_per_connection_s == pytest.approx(1e4 / 40)
    # 10 % of a core for 10 s over 1,000 deliveries, on each node.
    assert measured.cpu_us_per_delivery == pytest.approx(1000)
    assert measured.bytes_per_connection == 10_000
    assert measured.node_base_bytes == 70_000_000
    assert measured.deliveries_per_message == 2
    assert measured.bytes_in_per_message == 10
    assert measured.bytes_out_per_delivery == 20
    assert found.deliveries_per_s == 200
    assert found.latency.count == 2000


def test_faults_of_a_node_carry_its_number() -> None:
    found = outcome([node(), node(failures=("2 were lost",), reasons=("late",))], 4)
    assert found.failures == ("node 1: 2 were lost",)
    assert found.invalid == ("node 1: late",)


def test_nodes_that_were_not_watched_cannot_be_planned_with() -> None:
    blind = node()
    blind["server"]["rss_before_bytes"] = None
    with pytest.raises(ValueError, match="memory of the nodes"):
        outcome([blind], 4)


def test_what_was_measured_is_told_apart_from_what_was_assumed_and_computed() -> None:
    found = outcome([node(failures=("2 were lost",))], 4)
    text = told(found, Assumed(), plan(found.measured, Assumed()))
    measured, rest = text.split("\nASSUMED\n")
    assumed, computed = rest.split("\nCOMPUTED ")
    assert measured.startswith("MEASURED on this machine")
    assert "connections held" in measured
    assert "FAILED: node 0: 2 were lost" in measured
    assert "the product's figure" in assumed
    assert "nobody has measured it" in computed
    assert "PostgreSQL" in computed
    assert "PostgreSQL writes" not in measured
