from __future__ import annotations

import pytest

from collab_server.access.identity import Caller
from collab_server.access.origins import Origins, check_patterns


def welcomes(origins: Origins, origin: str | None, host: str | None = "collab.example:4000") -> bool:
    return origins.fault(Caller("127.0.0.1", is_loopback=True, origin=origin, host=host)) is None


@pytest.mark.parametrize(
    ("pattern", "origin", "welcome"),
    [
        ("https://app.example.com", "https://app.example.com", True),
        ("https://app.example.com", "https://APP.example.com", True),
        ("https://app.example.com", "https://app.example.com:443", True),
        ("https://app.example.com:443", "https://app.example.com", True),
        ("https://app.example.com", "https://app.example.com:8443", False),
        ("https://app.example.com", "http://app.example.com", False),
        ("https://app.example.com", "https://app.example.com.evil.net", False),
        ("https://app.example.com", "https://appxexample.com", False),
        ("https://app.example.com", "https://evil.net/https://app.example.com", False),
        ("https://app.example.com", "https://app.example.com@evil.net", False),
        ("https://app.example.com", "https://app.example.com, https://evil.net", False),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "https://evil.net/.example.com", False),
        ("https://*.example.com", "https://evil.net:1.example.com", False),
        ("http://localhost:*", "http://localhost:5173", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost.evil.net:5173", False),
        ("http://[::1]:8080", "http://[::1]:8080", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("null", "null", True),
        ("https://app.example.com", "null", False),
        ("*", "https://anything.example", True),
        ("*", "null", True),
        ("https://app.example.com", "", False),
        ("https://app.example.com", None, True),
    ],
)
def test_a_pattern_lets_in_its_own_pages_and_no_others(
    pattern: str, origin: str | None, welcome: bool
) -> None:
    assert welcomes(Origins([pattern]), origin) is welcome


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        (None, True),
        ("http://localhost:3000", True),
        ("http://app.localhost", True),
        ("https://127.0.0.1:8443", True),
        ("http://[::1]:3000", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("null", False),
        ("http://192.168.1.7:4000", True),
        ("http://192.168.1.7:4001", False),
    ],
)
def test_without_a_list_pages_of_this_machine_and_of_this_server_may_come(
    origin: str | None, welcome: bool
) -> None:
    assert welcomes(Origins(guards_host=True), origin, "192.168.1.7:4000") is welcome


def test_a_page_of_this_server_may_always_come() -> None:
    origins = Origins(["https://app.example.com"])
    assert welcomes(origins, "https://collab.example:4000")
    assert not welcomes(origins, "https://collab.example:4001")
    assert welcomes(origins, "https://collab.example", "collab.example")


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("127.0.0.1:4000", True),
        ("localhost", True),
        ("LOCALHOST:4000", True),
        ("[::1]:4000", True),
        ("192.168.1.7:4000", True),
        ("evil.example:4000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.example", False),
        ("localhost, evil.example", False),
        ("", False),
        (None, False),
    ],
)
def test_a_name_that_was_pointed_at_this_machine_is_not_this_machine(host: str | None, welcome: bool) -> None:
    origins = Origins(guards_host=True)
    assert welcomes(origins, None, host) is welcome
    assert not welcomes(origins, "http://evil.example:4000", "evil.example:4000")


def test_a_name_that_is_allowed_as_a_page_is_a_name_of_this_machine() -> None:
    origins = Origins(["http://dev.example:4000"], guards_host=True)
    assert welcomes(origins, None, "dev.example:4000")
    assert not welcomes(origins, None, "evil.example:4000")
    assert welcomes(Origins(["*"], guards_host=True), None, "anything.example")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("app.example.com", "is no origin"),
        ("https://app.example.com/", "has a path"),
        ("https://a*b.example.com", "is no origin"),
        ("https://", "is no origin"),
        ("https://a b", "is no origin"),
        ("", "is no origin"),
    ],
)
def test_a_pattern_that_is_no_origin_is_said(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_patterns([pattern])
