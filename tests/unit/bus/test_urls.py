from __future__ import annotations

import pytest

from collab_server.bus.settings import BusAddress
from collab_server.bus.urls import parse_bus_url
from collab_server.errors import BusConfigError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://localhost", BusAddress((("localhost", 6379),))),
        ("valkey://10.0.0.1:7000/2", BusAddress((("10.0.0.1", 7000),), database=2)),
        ("redis://[::1]:7000?db=3", BusAddress((("::1", 7000),), database=3)),
        ("redis://:p%40ss%2F@h", BusAddress((("h", 6379),), password="p@ss/")),
        ("redis://me:p:w@h", BusAddress((("h", 6379),), username="me", password="p:w")),
        ("rediss://h", BusAddress((("h", 6379),), is_tls=True)),
        (
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
            BusAddress(
                (("h", 6379),),
                is_tls=True,
                tls_ca_path="/ca.pem",
                tls_cert_path="/c.pem",
                tls_key_path="/k.pem",
            ),
        ),
        (
            "rediss://h?ssl_cert_reqs=none",
            BusAddress((("h", 6379),), is_tls=True, tls_verifies=False, tls_checks_host=False),
        ),
        (
            "rediss://h?ssl_check_hostname=false",
            BusAddress((("h", 6379),), is_tls=True, tls_checks_host=False),
        ),
        ("unix:///run/redis.sock", BusAddress((("localhost", 0),), path="/run/redis.sock")),
        (
            "unix://:pw@/run/r.sock?db=1",
            BusAddress((("localhost", 0),), path="/run/r.sock", password="pw", database=1),
        ),
        (
            "redis+sentinel://:pw@a,b:27000/trips/4?sentinel_password=sp",
            BusAddress(
                (("a", 26379), ("b", 27000)),
                service="trips",
                database=4,
                password="pw",
                sentinel_password="sp",
            ),
        ),
    ],
)
def test_addresses_are_understood(url: str, address: BusAddress) -> None:
    assert parse_bus_url(url) == address


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "it must be redis://"),
        ("localhost:6379", "it must be redis://"),
        ("http://localhost", "it must be redis://"),
        ("redis://", "a host is missing"),
        ("redis://:6379", "a host is missing"),
        ("redis://h:port", "[Pp]ort"),
        ("redis://h:99999", "[Pp]ort"),
        ("redis://a,b", "only Sentinels"),
        ("redis://h/x", "the database must be a number"),
        ("redis://h/1/2", "the database must be a number"),
        ("redis://h?timeout=3", "unknown option 'timeout'"),
        ("redis://h?ssl_ca_certs=/x", "needs rediss://"),
        ("rediss://h?ssl_cert_reqs=maybe", "required or none"),
        ("redis+sentinel://h", "service is missing"),
        ("unix://host/path", "three slashes"),
        ("redis://:secret#word@h", "%23"),
        ("redis://:secret@[::1", "."),
    ],
)
def test_what_is_no_address_is_refused_without_showing_a_password(url: str, complaint: str) -> None:
    with pytest.raises(BusConfigError, match=complaint) as raised:
        parse_bus_url(url)
    assert "secret" not in str(raised.value)


def test_a_password_is_not_in_what_is_logged_of_an_address() -> None:
    assert "pw" not in repr(parse_bus_url("redis://:pw@h"))
    assert "sp" not in repr(parse_bus_url("redis+sentinel://h/service?sentinel_password=sp"))
