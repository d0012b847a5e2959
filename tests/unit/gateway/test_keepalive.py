from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from collab_server.errors import PeerError
from collab_server.gateway.keepalive import Keepalive
from collab_server.gateway.settings import TransportSettings


@dataclass(eq=False)
class Peer:
    heard: bool = True
    reading: bool = True
    data_at: float = 0.0
    full_since: float | None = None
    answers: bool = True
    pings: list[float] = field(default_factory=list)
    ended: list[tuple[float, int]] = field(default_factory=list)
    now: float = 0.0
    naps_from: float = 0.0
    asked_to_nap: list[float] = field(default_factory=list)

    def nap(self, now: float) -> bool:
        self.asked_to_nap.append(now)
        return now >= self.naps_from

    def take_heard(self, now: float) -> bool:
        heard, self.heard = self.heard, False
        return heard

    def is_reading(self) -> bool:
        return self.reading and not self.ended

    def data_age_s(self, now: float) -> float:
        return now - self.data_at

    def stalled_s(self, now: float) -> float:
        return 0.0 if self.full_since is None else now - self.full_since

    def ping(self) -> None:
        self.pings.append(self.now)
        self.heard = self.answers

    def give_up(self, error: PeerError) -> None:
        self.ended.append((self.now, error.close_code))


def run(wheel: Keepalive[Peer], *peers: Peer, until_s: float) -> None:
    for peer in peers:
        wheel.add(peer)
    now = 0.0
    while now < until_s:
        now += wheel.tick_s
        for peer in peers:
            peer.now = now
        wheel.tick(now)


def test_a_quiet_peer_that_answers_is_pinged_once_per_interval() -> None:
    peer = Peer()
    run(Keepalive(TransportSettings(idle_timeout_s=0)), peer, until_s=250)
    assert len(peer.pings) in {9, 10}
    assert {round(b - a) for a, b in zip(peer.pings, peer.pings[1:], strict=False)} == {25}
    assert peer.ended == []


def test_a_vanished_peer_is_given_up_within_the_promised_time() -> None:
    peers = [Peer(answers=False) for _ in range(50)]
    run(Keepalive(TransportSettings()), *peers, until_s=60)
    assert all(peer.ended[0][1] == 4408 and peer.ended[0][0] <= 57 for peer in peers)


def test_a_peer_that_speaks_is_not_pinged() -> None:
    class Chatty(Peer):
        def take_heard(self, now: float) -> bool:
            return True

    peer = Chatty()
    run(Keepalive(TransportSettings(idle_timeout_s=0)), peer, until_s=200)
    assert peer.pings == []
    assert peer.ended == []


def test_a_peer_that_only_answers_pings_ends_as_idle() -> None:
    peer = Peer()
    run(Keepalive(TransportSettings(idle_timeout_s=100)), peer, until_s=130)
    assert [code for _, code in peer.ended] == [4408]
    assert 100 <= peer.ended[0][0] <= 126


def test_a_peer_that_we_do_not_read_is_not_blamed() -> None:
    peer = Peer(heard=False, reading=False)
    run(Keepalive(TransportSettings(idle_timeout_s=50)), peer, until_s=200)
    assert peer.pings == []
    assert peer.ended == []


def test_a_peer_that_stays_full_is_told_to_come_back_later() -> None:
    peer = Peer(full_since=0.0)
    run(Keepalive(TransportSettings(stall_timeout_s=60)), peer, until_s=90)
    assert peer.ended[0][1] == 1013


@pytest.mark.parametrize("settings", [TransportSettings(ping_interval_s=0, idle_timeout_s=0)])
def test_without_pings_nobody_is_pinged(settings: TransportSettings) -> None:
    peer = Peer(heard=False)
    run(Keepalive(settings), peer, until_s=100)
    assert peer.pings == []
    assert peer.ended == []


def test_one_that_left_is_not_looked_at_again() -> None:
    peer = Peer(heard=False, answers=False)
    wheel: Keepalive[Peer] = Keepalive(TransportSettings())
    wheel.add(peer)
    now = 0.0
    while not peer.pings:
        now += 1.0
        wheel.tick(now)
    wheel.discard(peer)
    assert len(wheel) == 0
    for _ in range(60):
        now += 1.0
        wheel.tick(now)
    assert peer.ended == []


def test_all_are_listed_even_while_they_leave() -> None:
    wheel: Keepalive[Peer] = Keepalive(TransportSettings())
    peers = {Peer() for _ in range(100)}
    for peer in peers:
        wheel.add(peer)
    found = set()
    for peer in wheel:
        wheel.discard(peer)
        found.add(peer)
    assert found == peers


@pytest.mark.parametrize(
    "settings",
    [
        TransportSettings(ping_interval_s=0.1, pong_timeout_s=1.0),
        TransportSettings(stall_timeout_s=3.0),
        TransportSettings(idle_timeout_s=0, ping_interval_s=5.0, pong_timeout_s=60.0),
    ],
)
def test_a_wheel_that_turns_faster_than_an_answer_may_take_judges_right(settings: TransportSettings) -> None:
    healthy, vanished = Peer(), Peer(answers=False)
    wheel: Keepalive[Peer] = Keepalive(settings)
    run(wheel, healthy, vanished, until_s=200)
    assert not [at for at, _ in healthy.ended if at < (settings.idle_timeout_s or 1000)]
    assert vanished.ended[0][0] <= 10 + settings.ping_interval_s * 2 + settings.pong_timeout_s
    wheel.discard(vanished)
    assert vanished not in wheel._awaited


def test_one_that_was_woken_is_asked_to_nap_until_it_does() -> None:
    peer = Peer(naps_from=10.0)
    wheel = Keepalive[Peer](TransportSettings())
    wheel.awake(peer)
    run(wheel, peer, until_s=60)
    assert 10.0 <= peer.asked_to_nap[-1] <= 10.0 + 2 * 3.0
    assert len(peer.asked_to_nap) <= 6


def test_one_that_was_never_woken_is_not_asked() -> None:
    peer = Peer()
    run(Keepalive(TransportSettings()), peer, until_s=60)
    assert peer.asked_to_nap == []
