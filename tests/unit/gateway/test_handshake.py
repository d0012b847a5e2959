from __future__ import annotations

import pytest

from collab_server.gateway.handshake import HandshakeError, Request, Upgrade, read_upgrade
from tests.support.rawsocket import ACCEPT, upgrade_request


def read(head: bytes, deflate: bool = True) -> Upgrade:
    return read_upgrade(head, remote_address=("10.0.0.1", 4000), is_secure=False, deflate=deflate)


def request(path: str, **changes: str) -> Request:
    return read(upgrade_request(path, **changes)).request


def status(head: bytes) -> int:
    with pytest.raises(HandshakeError) as caught:
        read(head)
    assert caught.value.response.startswith(b"HTTP/1.1 %d " % caught.value.status)
    return caught.value.status


def test_the_accept_value_is_the_one_of_the_rfc() -> None:
    assert read(upgrade_request()).accept == ACCEPT


def test_a_request_keeps_its_path_and_query_as_they_came() -> None:
    found = request("/caf%C3%A9/b?auth=x%20y&z?")
    assert found.path == "/caf%C3%A9/b?auth=x%20y&z?"
    assert found.query == "auth=x%20y&z?"
    assert found.remote_address == ("10.0.0.1", 4000)


def test_a_path_may_hold_raw_utf8_and_the_absolute_form() -> None:
    head = upgrade_request("/x").replace(b"/x", "/café".encode(), 1)
    assert read(head).request.path == "/café"
    assert request("ws://host:80/room?q").path == "/room?q"
    assert request("WSS://host").path == "/"


def test_headers_are_found_in_any_case_and_joined_when_repeated() -> None:
    found = request("/", Cookie="a=b", X_More="1\r\nx-more: 2").headers
    assert found["cookie"] == found["Cookie"] == "a=b"
    assert found["x-more"] == "1, 2"
    assert found.all("X-More") == ["1", "2"]
    assert "absent" not in found
    assert found.get("absent") is None
    assert len(found) == 7


def test_offered_subprotocols_keep_their_order_over_repeated_headers() -> None:
    found = request("/", Sec_WebSocket_Protocol="b, a\r\nSec-WebSocket-Protocol: c")
    assert found.subprotocols == ("b", "a", "c")
    assert found.subprotocol == "b"


def test_compression_is_agreed_to_only_when_it_is_on() -> None:
    head = upgrade_request(Sec_WebSocket_Extensions="permessage-deflate")
    assert b"permessage-deflate" in read(head).response()
    assert b"permessage-deflate" not in read(head, deflate=False).response()


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(upgrade_request(without="Host"), id="no host"),
        pytest.param(upgrade_request(Host="a\r\nHost: b"), id="two hosts"),
        pytest.param(upgrade_request(without="Sec-WebSocket-Key"), id="no key"),
        pytest.param(
            upgrade_request(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: x"),
            id="two keys",
        ),
        pytest.param(upgrade_request(Sec_WebSocket_Key="ä" * 24), id="a key outside ASCII"),
        pytest.param(upgrade_request(Connection="close"), id="no upgrade in connection"),
        pytest.param(upgrade_request(Upgrade="h2c"), id="another upgrade"),
        pytest.param(upgrade_request(Content_Length="5"), id="a body"),
        pytest.param(upgrade_request(Transfer_Encoding="chunked"), id="a chunked body"),
        pytest.param(upgrade_request(Sec_WebSocket_Protocol="a b"), id="a subprotocol with a space"),
        pytest.param(upgrade_request(Sec_WebSocket_Protocol=""), id="an empty subprotocol"),
        pytest.param(upgrade_request("/a#b"), id="a fragment"),
        pytest.param(upgrade_request("*"), id="no path"),
        pytest.param(upgrade_request("/x").replace(b"/x", b"/\xff", 1), id="a path that is not UTF-8"),
    ],
)
def test_a_broken_request_is_400(head: bytes) -> None:
    assert status(head) == 400


def test_an_empty_body_is_no_body() -> None:
    assert read(upgrade_request(Content_Length="0")).accept == ACCEPT


def test_other_methods_and_versions_have_their_own_answers() -> None:
    assert status(upgrade_request().replace(b"GET", b"PUT", 1)) == 405
    assert status(upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0", 1)) == 505
    assert status(upgrade_request(Sec_WebSocket_Version="12")) == 426
