from __future__ import annotations

import pytest

from collab_server.access.callers import Callers, ProxyHeader, check_networks, network_of
from collab_server.access.identity import Caller


def of(callers: Callers, peer: str | None, **headers: str | list[str]) -> Caller:
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    def values(name: str) -> list[str]:
        value = given.get(name, [])
        return [value] if isinstance(value, str) else value

    return callers.caller(peer, values)


@pytest.mark.parametrize(
    ("peer", "address", "is_loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9", "127.9.9.9", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:192.0.2.7", "192.0.2.7", False),
        ("192.0.2.7", "192.0.2.7", False),
        ("fe80::1%eth0", "fe80::1", False),
        (None, None, False),
    ],
)
def test_without_proxies_the_peer_is_the_caller(
    peer: str | None, address: str | None, is_loopback: bool
) -> None:
    caller = of(Callers(), peer, origin="http://a", host="b:1")
    assert caller == Caller(address, is_loopback, "http://a", "b:1")


def test_what_a_stranger_says_of_its_address_is_ignored() -> None:
    caller = of(
        Callers(["10.0.0.0/8"]), "192.0.2.7", x_forwarded_for="203.0.113.1", forwarded="for=203.0.113.1"
    )
    assert caller.address == "192.0.2.7"


@pytest.mark.parametrize(
    "header", ["x_forwarded_for", "forwarded", "x_real_ip", "via", "x_forwarded_host", "x_forwarded_proto"]
)
def test_who_came_through_a_proxy_on_this_machine_is_not_on_this_machine(header: str) -> None:
    caller = of(Callers(), "127.0.0.1", **{header: "127.0.0.1"})
    assert caller.address == "127.0.0.1"
    assert not caller.is_loopback


@pytest.mark.parametrize("forwarded_for", [[], ["127.0.0.1"], ["::1"], [""]])
def test_what_a_trusted_proxy_brings_is_never_on_loopback(forwarded_for: list[str]) -> None:
    assert not of(Callers(["127.0.0.1"]), "127.0.0.1", x_forwarded_for=forwarded_for).is_loopback


@pytest.mark.parametrize(
    ("forwarded_for", "address"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("1.1.1.1, 203.0.113.1, 10.0.0.2, 10.0.0.3", "203.0.113.1"),
        (["1.1.1.1", "203.0.113.1, 10.0.0.2"], "203.0.113.1"),
        ("203.0.113.1:4711", "203.0.113.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("203.0.113.1, unknown", "10.0.0.1"),
        ("203.0.113.1, unknown, 10.0.0.2", "10.0.0.2"),
        ("x" * 5000, "10.0.0.1"),
        ("", "10.0.0.1"),
        (",".join(["1.1.1.1"] * 5000 + ["203.0.113.1"]), "203.0.113.1"),
    ],
)
def test_behind_proxies_the_rightmost_address_that_is_not_theirs_counts(
    forwarded_for: str | list[str], address: str
) -> None:
    assert of(Callers(["10.0.0.0/8"]), "10.0.0.1", x_forwarded_for=forwarded_for).address == address


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("for=203.0.113.1;proto=https;by=10.0.0.1", "203.0.113.1"),
        ('For="[2001:db8::1]:4711"', "2001:db8::1"),
        ("for=1.1.1.1, for=203.0.113.1, for=10.0.0.2", "203.0.113.1"),
        ('for=203.0.113.1;host="a,b;for=9.9.9.9"', "203.0.113.1"),
        ('for=203.0.113.1, for="10.0.0.2:80";host="x, for=9.9.9.9"', "203.0.113.1"),
        ("for=203.0.113.1, for=_hidden", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_where_the_proxies_write_that_one(forwarded: str, address: str) -> None:
    callers = Callers(["10.0.0.0/8"], ProxyHeader.FORWARDED)
    assert of(callers, "10.0.0.1", forwarded=forwarded, x_forwarded_for="8.8.8.8").address == address


def test_only_the_header_that_the_proxies_write_is_read() -> None:
    caller = of(Callers(["10.0.0.0/8"]), "10.0.0.1", x_forwarded_for="203.0.113.1", forwarded="for=8.8.8.8")
    assert caller.address == "203.0.113.1"


def test_a_trusted_proxy_says_by_which_name_the_server_was_called() -> None:
    callers = Callers(["10.0.0.0/8"])
    assert of(callers, "10.0.0.1", host="up:1", x_forwarded_host="a.example").host == "a.example"
    assert of(callers, "192.0.2.1", host="up:1", x_forwarded_host="a.example").host == "up:1"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        (None, "unknown"),
    ],
)
def test_addresses_are_counted_by_subscriber(address: str | None, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("text", "said"), [("10.0.0.0/33", "is no address"), ("proxy.local", "is no address"), ("::/0", "trusts")]
)
def test_a_proxy_that_is_no_network_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_networks(["10.0.0.0/8", text])
