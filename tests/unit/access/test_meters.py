from __future__ import annotations

from collections.abc import Mapping

import pytest

from collab_server.access.addresses import Addresses, AddressFault, AddressSettings
from collab_server.access.guarded import GuardedGatekeeper
from collab_server.access.identity import ANONYMOUS, Admission, Caller, Identity, Role
from collab_server.access.meters import LimitSharing, Meter
from collab_server.access.quotas import TenantQuotas
from collab_server.access.traffic import Traffic, TrafficSettings
from collab_server.errors import BusyError, FloodError, NotAuthenticatedError

FAR = Caller("192.0.2.1", is_loopback=False)
HERE = Caller("127.0.0.1", is_loopback=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_key_has_a_rate_of_its_own() -> None:
    meter = Meter("x", 10, 2, 100)
    assert [meter.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.1]
    assert meter.take("b", 0.0) == 0.0


def test_a_rate_of_nothing_is_no_limit_and_remembers_nobody() -> None:
    meter = Meter("x", 0, 1, 100)
    assert not any(meter.take("a", 0.0) for _ in range(1000))
    assert meter.try_take("a", 0.0)
    assert len(meter) == 0
    assert not meter.used


def test_very_many_keys_cost_no_more_than_the_bound_and_the_busy_ones_are_not_forgotten() -> None:
    meter = Meter("x", 10, 2, 100)
    for number in range(200_000):
        if number % 50 == 0:
            meter.take("busy", 0.0)
        meter.take(f"{number}", 0.0)
    assert len(meter) == 100
    assert len(meter.used) == 100
    assert meter.take("busy", 0.0) > 399


def test_who_is_refused_takes_nothing_and_comes_in_later() -> None:
    meter = Meter("x", 1, 2, 100)
    assert [meter.try_take("a", 0.0) for _ in range(100)] == [True, True] + [False] * 98
    assert meter.try_take("a", 1.0)
    assert not meter.try_take("a", 1.5)


def test_an_address_has_so_many_connections_and_so_many_new_ones() -> None:
    addresses = Addresses(AddressSettings(connections_max=2, rate_max_per_s=1, burst_max=3))
    assert addresses.enter("a", 0.0) is None
    assert addresses.enter("a", 0.0) is None
    assert addresses.enter("a", 0.0) is AddressFault.CONNECTIONS
    assert addresses.enter("b", 0.0) is None
    addresses.leave("a")
    assert addresses.enter("a", 0.0) is None
    addresses.leave("a")
    assert addresses.enter("a", 0.0) is AddressFault.RATE
    assert addresses.enter("a", 1.0) is None


class Wrong:
    """A gatekeeper to whom one token is right."""

    admits_anonymous = False
    asked = 0

    async def admit(self, token: str | None, room: str, caller: Caller) -> Admission:
        self.asked += 1
        if token != "right":
            raise NotAuthenticatedError("wrong")
        return Admission(ANONYMOUS, Role.EDITOR)

    async def admit_everywhere(self, token: str | None, caller: Caller) -> Admission:
        return await self.admit(token, "*", caller)


async def test_an_address_that_brings_wrong_tokens_is_not_heard_for_a_while() -> None:
    clock, inner, refused = Clock(), Wrong(), []
    gatekeeper = GuardedGatekeeper(
        inner, Meter("t", 1, 3, 100), clock=clock, on_refused=lambda: refused.append(1)
    )
    for _ in range(3):
        with pytest.raises(NotAuthenticatedError):
            await gatekeeper.admit("wrong", "r", FAR)
    with pytest.raises(FloodError):
        await gatekeeper.admit("right", "r", FAR)
    with pytest.raises(FloodError):
        await gatekeeper.admit_everywhere("right", FAR)
    assert (inner.asked, len(refused)) == (3, 2)
    await gatekeeper.admit("right", "r", Caller("192.0.2.2", is_loopback=False))
    clock.now += 1
    await gatekeeper.admit("right", "r", FAR)
    await gatekeeper.admit("right", "r", FAR)


async def test_a_missing_token_and_a_program_on_this_machine_count_as_nothing() -> None:
    gatekeeper = GuardedGatekeeper(Wrong(), Meter("t", 1, 3, 100), clock=Clock())
    for token, caller in ((None, FAR), ("wrong", HERE)):
        for _ in range(10):
            with pytest.raises(NotAuthenticatedError):
                await gatekeeper.admit(token, "r", caller)


def test_a_user_is_held_back_over_all_connections_and_is_the_culprit() -> None:
    traffic = Traffic(TrafficSettings(user_rate_max_per_s=10, burst_s=3.2))
    ann = [traffic.of_member(Identity("ann"), "r") for _ in range(2)]
    assert not any(purse.pay(0.0) for purse in ann for _ in range(16))
    assert [ann[0].pay(0.0) for _ in range(16)][-1] == pytest.approx(1.6)
    assert ann[1].pay(0.5, 16) == pytest.approx(2.7)
    assert ann[1].strained_s(0.5) == 0.5
    assert not any(traffic.of_member(Identity("bob"), "r").pay(0.5) for _ in range(30))


def test_a_room_or_an_address_holds_back_but_nobody_is_the_culprit() -> None:
    traffic = Traffic(TrafficSettings(room_rate_max_per_s=10, address_rate_max_per_s=10, burst_s=1.6))
    for purse in (traffic.of_member(Identity("ann"), "r"), traffic.of_connection(FAR)):
        assert purse.pay(0.0, 32) == pytest.approx(1.6)
        assert purse.strained_s(1.0) == 0.0
    assert traffic.of_member(Identity("bob"), "other").pay(0.0, 16) == 0.0
    assert traffic.of_connection(HERE).pay(0.0, 10_000) == 0.0


def test_a_tenant_has_so_many_members_and_rooms_and_the_others_theirs() -> None:
    refused: list[int] = []
    quotas = TenantQuotas(rooms_max=2, members_max=3, on_refused=lambda: refused.append(1))
    quotas.enter("a", "1")
    quotas.enter("a", "2")
    with pytest.raises(BusyError, match="documents"):
        quotas.enter("a", "3")
    quotas.enter("a", "2")
    with pytest.raises(BusyError, match="connections"):
        quotas.enter("a", "2")
    quotas.enter("b", "3")
    for _ in range(10):
        quotas.enter(None, "4")
    quotas.leave("a", "1")
    quotas.leave(None, "4")
    quotas.enter("a", "3")
    assert len(refused) == 2


class Redis:
    """Counts that two nodes share."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.is_away = False

    async def add(self, used: Mapping[str, int]) -> Mapping[str, int]:
        if self.is_away:
            return {}
        for key, amount in used.items():
            self.totals[key] = self.totals.get(key, 0) + amount
        return {key: self.totals[key] for key in used}


class NodeOfTwo:
    def __init__(self, redis: Redis, clock: Clock) -> None:
        self.meter = Meter("mu", 10, 20, 100)
        self.sharing = LimitSharing([self.meter], redis, interval_s=1, keys_max=10, clock=clock)


async def test_what_a_user_sends_elsewhere_counts_here_too() -> None:
    redis, clock = Redis(), Clock()
    one, other = NodeOfTwo(redis, clock), NodeOfTwo(redis, clock)
    held_back_s = 0.0
    for _ in range(10):
        for node in (one, other):
            held_back_s = max(held_back_s, node.meter.take("ann", clock.now, 8))
            await node.sharing.exchange()
        clock.now += 1
    # Each node alone sees 8 a second, below the rate of 10; together they send 16.
    assert held_back_s > 2
    assert "ann" not in str(redis.totals)


async def test_limits_are_a_nodes_own_while_the_others_cannot_be_reached_and_start_over_after() -> None:
    redis, clock = Redis(), Clock()
    one, other = NodeOfTwo(redis, clock), NodeOfTwo(redis, clock)
    for node in (one, other):
        node.meter.take("ann", clock.now)
        await node.sharing.exchange()
    redis.is_away = True
    one.meter.take("ann", clock.now)
    await one.sharing.exchange()
    redis.is_away = False
    clock.now += 100
    for _ in range(3):
        other.meter.take("ann", clock.now, 500)
        await other.sharing.exchange()
    one.meter.take("ann", clock.now)
    await one.sharing.exchange()
    assert one.meter.take("ann", clock.now) == 0.0


async def test_of_very_many_keys_the_busiest_are_shared() -> None:
    redis = Redis()
    node = NodeOfTwo(redis, Clock())
    for number in range(50):
        node.meter.take(f"{number}", 0.0, number + 1)
    await node.sharing.exchange()
    assert sorted(redis.totals.values()) == list(range(41, 51))
