from __future__ import annotations

from types import SimpleNamespace

from collab_server.access.load import Load, LoadSettings, Sample
from collab_server.errors import CloseCode, PeerError
from collab_server.gateway.connection import Connection
from collab_server.gateway.shedding import Shedder
from collab_server.gateway.stay import Stay
from collab_server.telemetry.metrics import Metrics


class Client(Connection):
    """A connection without a socket, which notes its end."""

    __slots__ = ("ended_with", "name")

    def __init__(self, name: str, idle_turns: int = 0) -> None:
        self.name = name
        self.idle_turns = idle_turns
        self.ended_with: PeerError | None = None

    @property
    def is_open(self) -> bool:
        return self.ended_with is None

    def close(self, error: PeerError) -> None:
        self.ended_with = error


class Member(Stay):
    """A stay that only has what is looked at."""

    __slots__ = ()

    def __init__(self, connection: Connection, *, can_write: bool) -> None:
        self.connection = connection
        self.member = SimpleNamespace(can_write=can_write)  # type: ignore[assignment]


class House:
    def __init__(self, settings: LoadSettings, closes_max_per_s: int = 1) -> None:
        self.now = 0.0
        self.sample = Sample(0.0, 100, 0.0, 4)
        self.loafer, self.viewer = Client("loafer"), Client("viewer")
        self.idle, self.busy = Client("idle editor", 10), Client("busy editor", 0)
        sessions = [
            Member(self.busy, can_write=True),
            Member(self.busy, can_write=False),
            Member(self.viewer, can_write=False),
            Member(self.idle, can_write=True),
        ]
        self.connections = {self.busy, self.viewer, self.idle, self.loafer}
        self.lobby = SimpleNamespace(connections=self.connections, sessions=sessions)
        self.metrics = Metrics()
        self.shedder = Shedder(
            Load(settings),
            self.lobby,  # type: ignore[arg-type]
            lambda _lag_s, _connections: self.sample,
            self.metrics,
            closes_max_per_s=closes_max_per_s,
            clock=lambda: self.now,
        )

    def go_on(self, seconds: int) -> list[str]:
        """Who was closed, in order."""
        closed = []
        for _ in range(seconds):
            self.now += 1
            self.shedder.look(0.0)
            gone = [client for client in self.connections if client.ended_with is not None]
            closed += [client.name for client in gone]
            self.connections.difference_update(gone)
            assert all(client.ended_with.close_code is CloseCode.OVERLOADED for client in gone)  # type: ignore[union-attr]
        return closed


def test_those_who_miss_the_least_are_closed_first_one_after_the_other() -> None:
    house = House(LoadSettings(memory_bytes_max=1000, patience_s=10))
    assert house.go_on(5) == []
    assert not house.shedder.refuses
    house.sample = Sample(0.0, 2000, 0.0, 4)
    assert house.go_on(10) == []
    assert house.shedder.refuses
    assert house.shedder.trouble == "overloaded: memory at 200% of its limit"
    assert house.go_on(2) == ["loafer", "viewer"]
    assert house.go_on(10) == ["idle editor", "busy editor"]
    assert "collab_load_level 2.0" in house.metrics.render().decode()
    assert "collab_load_closed_total 4.0" in house.metrics.render().decode()


def test_nobody_is_closed_any_more_when_the_load_has_fallen() -> None:
    house = House(LoadSettings(memory_bytes_max=1000, patience_s=10))
    house.sample = Sample(0.0, 2000, 0.0, 4)
    assert house.go_on(11) == ["loafer"]
    house.sample = Sample(0.0, 950, 0.0, 4)
    assert house.go_on(100) == []
    assert house.shedder.refuses
    house.sample = Sample(0.0, 800, 0.0, 4)
    assert house.go_on(1) == []
    assert not house.shedder.refuses


def test_a_full_node_sends_nobody_away_who_works() -> None:
    house = House(LoadSettings(connections_max=4, patience_s=10), closes_max_per_s=50)
    house.sample = Sample(0.0, 0, 0.0, 4)
    assert sorted(house.go_on(30)) == ["idle editor", "loafer", "viewer"]
    assert not house.shedder.refuses, "the transport itself knows exactly whether there is a place"
    assert house.shedder.trouble == "overloaded: all 4 connections are taken"
