from __future__ import annotations

import dataclasses

import pytest

from bench.plan import Assumed, Line, Measured, assumed_lines, measured_lines, plan

MEASURED = Measured(
    connections=4000,
    nodes=2,
    members_per_room=4,
    node_base_bytes=70e6,
    bytes_per_connection=10_000,
    idle_cpu_us_per_connection_s=10,
    cpu_us_per_delivery=40,
    deliveries_per_message=3,
    bytes_in_per_message=15,
    bytes_out_per_delivery=25,
)


def by_name(measured: Measured = MEASURED, assumed: Assumed | None = None) -> dict[str, Line]:
    return {line.name: line for line in plan(measured, assumed or Assumed())}


def test_cores_come_from_idle_connections_deliveries_and_the_bus() -> None:
    lines = by_name()
    assert lines["CPU of idle connections"].value == pytest.approx(10)
    assert lines["CPU of deliveries"].value == pytest.approx(12)
    assert lines["CPU of the bus in the nodes"].value == pytest.approx(2)


def test_connections_decide_the_nodes_when_cpu_is_cheap() -> None:
    assert by_name()["nodes (one process, one core each)"].value == 143  # 1,000,000 / 7,000


def test_cpu_decides_the_nodes_when_it_is_dear() -> None:
    dear = dataclasses.replace(MEASURED, cpu_us_per_delivery=1000)
    nodes = by_name(dear)["nodes (one process, one core each)"].value
    assert nodes == 446  # (10 + 300 + 2) / 0.7, rounded up


def test_memory_of_a_node_has_base_connections_kernel_and_reserve() -> None:
    expected = (70e6 + 1_000_000 / 143 * 15_000) / 0.7 / 1024**3
    assert by_name()["memory of a node"].value == pytest.approx(expected)


def test_no_reserve_means_none() -> None:
    lines = by_name(assumed=Assumed(reserve=0))
    assert lines["nodes (one process, one core each)"].value == 100
    assert lines["Redis shards"].value == 1


def test_a_reserve_raises_shards_and_primaries_too() -> None:
    lines = by_name()
    assert lines["Redis shards"].value == 2  # 100,000 / 70,000
    assert lines["PostgreSQL primaries"].value == 6  # 100,000 / 19,600


def test_network_counts_headers_and_acknowledgements() -> None:
    lines = by_name()
    assert lines["network in"].value == pytest.approx(100_000 * (15 + 190) * 8 / 1e9 / 0.7)
    assert lines["network out"].value == pytest.approx(300_000 * (25 + 190) * 8 / 1e9 / 0.7)


def test_half_the_load_takes_half_of_what_grows_with_it() -> None:
    half = by_name(assumed=Assumed(messages_per_s=50_000))
    assert half["PostgreSQL writes"].value == pytest.approx(by_name()["PostgreSQL writes"].value / 2)
    assert half["Redis memory"].value == pytest.approx(by_name()["Redis memory"].value / 2)


def test_a_reserve_of_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="reserve"):
        plan(MEASURED, Assumed(reserve=1.0))


def test_every_computed_line_says_how_and_every_assumption_why() -> None:
    assert all(line.how for line in plan(MEASURED, Assumed()))
    assert all(why for _, _, why in assumed_lines(Assumed()))
    assert len(measured_lines(MEASURED)) == len(dataclasses.fields(Measured))
