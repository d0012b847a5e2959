from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from collab_server.errors import CloseCode
from collab_server.telemetry.instruments import Distribution
from collab_server.telemetry.metrics import Kind, Metrics, Refusal


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_flows_are_counted_by_kind_and_way() -> None:
    metrics = Metrics()
    metrics.received[Kind.UPDATE].add(100)
    metrics.sent[Kind.UPDATE].add(300, 3)
    found = samples(metrics)
    update = (("kind", "update"),)
    assert found["collab_messages_received_total", update] == 1
    assert found["collab_bytes_received_total", update] == 100
    assert found["collab_messages_sent_total", update] == 3
    assert found["collab_bytes_sent_total", update] == 300


def test_a_distribution_counts_a_value_on_its_bound_as_below_it() -> None:
    distribution = Distribution((1, 2))
    distribution.observe(1)
    distribution.observe(1.5, times=3)
    distribution.observe(9)
    assert distribution.buckets() == [("1.0", 1), ("2.0", 4), ("+Inf", 5)]
    assert distribution.total == 14.5
    assert distribution.count == 5


def test_a_histogram_is_exported_with_its_sum_and_count() -> None:
    metrics = Metrics()
    metrics.delivery_seconds.observe(0.004, times=10)
    found = samples(metrics)
    assert found["collab_delivery_seconds_bucket", (("le", "0.003"),)] == 0
    assert found["collab_delivery_seconds_bucket", (("le", "0.005"),)] == 10
    assert found["collab_delivery_seconds_count", ()] == 10
    assert abs(found["collab_delivery_seconds_sum", ()] - 0.04) < 1e-9


def test_codes_that_a_client_makes_up_make_no_new_series() -> None:
    metrics = Metrics()
    for code in range(3000, 5000):
        metrics.count_closed(code, by_server=False)
    closed = [labels for name, labels in samples(metrics) if name == "collab_connections_closed_total"]
    assert len(closed) <= len(CloseCode) + 1
    assert (("by", "client"), ("code", "other")) in closed


def test_refusals_failures_and_outcomes_are_counted() -> None:
    metrics = Metrics()
    metrics.count_refused(Refusal.ROOMS_MAX)
    metrics.count_store_error("append")
    metrics.count_compaction("done")
    metrics.count_view_failure("timeout")
    found = samples(metrics)
    assert found["collab_connections_refused_total", (("reason", "rooms_max"),)] == 1
    assert found["collab_store_errors_total", (("call", "append"),)] == 1
    assert found["collab_compactions_total", (("outcome", "done"),)] == 1
    assert found["collab_view_failures_total", (("reason", "timeout"),)] == 1


def test_gauges_are_read_when_they_are_scraped() -> None:
    metrics = Metrics()
    rooms: list[str] = []
    metrics.rooms.set_function(lambda: len(rooms))
    rooms.append("trip-1")
    assert samples(metrics)["collab_rooms", ()] == 1


def test_every_metric_is_in_the_table_of_the_class_and_the_table_has_no_other() -> None:
    documented = set(re.findall(r"^ *\| `(collab_\w+)`", Metrics.__doc__ or "", re.MULTILINE))
    defined = {
        family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        for family in Metrics().registry.collect()
        if family.name.startswith("collab_")
    }
    assert documented == defined


def test_two_servers_in_one_process_have_their_own_metrics() -> None:
    first, second = Metrics(), Metrics()
    first.resyncs.inc()
    assert samples(second)["collab_resyncs_total", ()] == 0
