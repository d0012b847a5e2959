"""What is measured of the bus. ``metrics`` lists it; this file is only the counting."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from collab_server.telemetry.instruments import Distribution, DistributionCollector, Flow, FlowCollector

BUS_SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class BusMetrics:
    """The counts of one node's bus; on the hot path a step is an addition."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_text: str) -> Counter:
            return Counter(name, help_text, registry=registry)

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(name, help_text, registry=registry)

        self.up = gauge("collab_bus_up", "1 if other nodes hear this one, or none is to be heard.")
        self.nodes = gauge("collab_bus_nodes", "Other nodes that are alive.")
        self.shards_watched = gauge("collab_bus_shards_watched", "Shards that this node listens to.")
        self.queue_bytes = gauge("collab_bus_queue_bytes", "Bytes that wait to be said to other nodes.")
        self.entries_behind = gauge("collab_bus_entries_behind", "Entries that this node has still to read.")
        self.gaps = counter("collab_bus_gaps", "Times that a shard may have lost something.")
        self.bad_entries = counter("collab_bus_bad_entries", "Entries that could not be read.")
        self.links_lost = counter("collab_bus_links_lost", "Times that Redis was lost, or could not be had.")
        self.messages_dropped = counter("collab_bus_messages_dropped", "Messages lost before they were said.")
        self._said, self._heard = Flow(), Flow()
        registry.register(
            FlowCollector("bus", {"sent": self._said, "received": self._heard}, "between nodes, by direction")
        )
        self._entries_sent = counter("collab_bus_entries_sent", "Entries written to Redis.")
        self._write_seconds = Distribution(BUS_SECONDS)
        self._delay_seconds = Distribution(BUS_SECONDS)
        for name, help_text, distribution in (
            ("collab_bus_write_seconds", "Time of one pipeline to Redis.", self._write_seconds),
            (
                "collab_bus_delay_seconds",
                "From an entry written to it read on this node.",
                self._delay_seconds,
            ),
        ):
            registry.register(DistributionCollector(name, help_text, {"": distribution}))

    def sent(self, entries: int, messages: int, bytes_count: int, seconds: float) -> None:
        """A pipeline was written."""
        self._said.add(bytes_count, messages)
        self._entries_sent.inc(entries)
        self._write_seconds.observe(seconds)

    def received(self, messages: int, bytes_count: int, delay_s: float) -> None:
        """An entry of another node was read."""
        self._heard.add(bytes_count, messages)
        self._delay_seconds.observe(delay_s)

    def gap(self) -> None:
        """A shard may have lost something."""
        self.gaps.inc()

    def bad_entry(self) -> None:
        """An entry could not be read."""
        self.bad_entries.inc()

    def lost_link(self) -> None:
        """The link to Redis was lost, or could not be had."""
        self.links_lost.inc()

    def dropped(self, messages: int) -> None:
        """Messages were lost before they were said."""
        self.messages_dropped.inc(messages)
