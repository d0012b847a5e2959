"""Opening a connection: what is accepted, what is refused and how, and that nobody can hold a door open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collab_server.errors import BusyError, GoneError
from collab_server.gateway.handshake import Request
from collab_server.gateway.settings import TransportSettings
from collab_server.gateway.websocket import SocketHandler
from tests.support.echo import EchoHandler, Running
from tests.support.echothread import echo_thread
from tests.support.rawsocket import ACCEPT, RawSocket, frame, upgrade_request

SETTINGS = TransportSettings(
    head_bytes_max=16384, request_line_bytes_max=8192, head_timeout_s=1.0, close_timeout_s=1.0
)


def factory(request: Request) -> SocketHandler:
    if request.path == "/gone":
        raise GoneError("was deleted")
    if request.path == "/broken":
        raise ValueError("a fault of ours")
    if request.path == "/choose":
        request.subprotocol = request.subprotocols[-1]
    if request.path == "/none":
        request.subprotocol = None
    return EchoHandler()


@pytest.fixture(scope="module", params=[True, False], ids=["own-http", "stock-http"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with echo_thread(factory, SETTINGS, with_own_http=request.param) as found:
        yield found


@pytest.fixture(scope="module")
def port(running: Running) -> int:
    return running.port


@pytest.fixture(scope="module")
def own_port() -> Iterator[int]:
    with echo_thread(factory, SETTINGS) as found:
        yield found.port


def status_of(port: int, request: bytes) -> int:
    with RawSocket(port) as raw:
        raw.send(request)
        return int(raw.read_head().split()[1])


def test_the_answer_proves_that_the_key_was_read(port: int) -> None:
    with RawSocket(port) as raw:
        head = raw.upgrade()
        assert head.startswith("HTTP/1.1 101 ")
        assert f"Sec-WebSocket-Accept: {ACCEPT}" in head.split("\r\n")
        assert "Sec-WebSocket-Protocol" not in head
        assert "Sec-WebSocket-Extensions" not in head


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Connection": "keep-alive, Upgrade"}, id="Firefox"),
        pytest.param({"Connection": "upgrade", "Upgrade": "WebSocket"}, id="other case"),
    ],
)
def test_the_headers_of_real_clients_are_understood(port: int, changes: dict[str, str]) -> None:
    assert status_of(port, upgrade_request(**changes)) == 101


def test_header_names_may_be_in_lower_case_as_dart_sends_them(port: int) -> None:
    head, _, _ = upgrade_request().partition(b"\r\n\r\n")
    line, _, headers = head.partition(b"\r\n")
    assert (
        status_of(
            port,
            line
            + b"\r\n"
            + headers.lower().replace(b"dghlihnhbxbszsbub25jzq==", b"dGhlIHNhbXBsZSBub25jZQ==")
            + b"\r\n\r\n",
        )
        == 101
    )


@pytest.mark.parametrize(
    "key",
    ["", "short", "dGhlIHNhbXBsZSBub25jZ", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSA=", "!" * 24],
)
def test_a_wrong_key_is_400(port: int, key: str) -> None:
    assert status_of(port, upgrade_request(Sec_WebSocket_Key=key)) == 400


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Host"])
def test_a_missing_header_is_400(port: int, name: str) -> None:
    assert status_of(port, upgrade_request(without=name)) == 400


@pytest.mark.parametrize("version", ["8", "12", "14", "", "13, 8"])
def test_another_version_is_426_and_told_which_is_spoken(port: int, version: str) -> None:
    with RawSocket(port) as raw:
        head = raw.upgrade(Sec_WebSocket_Version=version)
        assert head.startswith("HTTP/1.1 426 ")
        assert "Sec-WebSocket-Version: 13" in head.split("\r\n")


def test_only_get_opens_a_websocket(port: int) -> None:
    assert status_of(port, upgrade_request().replace(b"GET", b"POST", 1)) == 405


def test_http_1_0_is_refused(own_port: int) -> None:
    assert status_of(own_port, upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0", 1)) == 505


def test_plain_http_still_reaches_the_application(port: int) -> None:
    assert status_of(port, upgrade_request(without="Upgrade")) == 404


@pytest.mark.parametrize(
    ("path", "offered", "chosen"),
    [
        ("/", "a.b, c", "a.b"),
        ("/", "only", "only"),
        ("/choose", "a, b", "b"),
        ("/none", "a", None),
        ("/", None, None),
    ],
)
def test_a_subprotocol_is_chosen_from_what_is_offered(
    port: int, path: str, offered: str | None, chosen: str | None
) -> None:
    with RawSocket(port) as raw:
        if offered is None:
            head = raw.upgrade(path).split("\r\n")
        else:
            head = raw.upgrade(path, Sec_WebSocket_Protocol=offered).split("\r\n")
    found = [line for line in head if line.startswith("Sec-WebSocket-Protocol")]
    assert found == ([] if chosen is None else [f"Sec-WebSocket-Protocol: {chosen}"])


def test_frames_in_the_same_segment_as_the_request_are_not_lost(own_port: int) -> None:
    with RawSocket(own_port) as raw:
        raw.upgrade(pipelined=frame(1, b"eager") + frame(2, b"x" * 100_000) + frame(1, b"tail")[:3])
        assert raw.read_frame().payload == b"eager"
        assert len(raw.read_frame().payload) == 100_000


def test_a_refusal_of_the_application_is_a_close_code_after_the_handshake(port: int) -> None:
    with RawSocket(port) as raw:
        assert raw.upgrade("/gone").startswith("HTTP/1.1 101 ")
        received = raw.read_frame()
        assert (received.close_code, received.payload[2:]) == (4404, b"was deleted")


def test_a_fault_of_the_application_is_1011(port: int) -> None:
    with RawSocket(port) as raw:
        raw.upgrade("/broken")
        assert raw.read_frame().close_code == 1011


# -- the request head is bounded in bytes and time


def test_a_request_line_of_64_kb_is_414(own_port: int) -> None:
    assert status_of(own_port, upgrade_request("/" + "a" * 65536)) == 414


def test_a_request_line_without_an_end_is_414(own_port: int) -> None:
    assert status_of(own_port, b"GET /" + b"a" * 100_000) == 414


@pytest.mark.parametrize("header", [b"X: " + b"a" * 100_000, b"X" * 100_000, b"A: b\r\n" * 20_000])
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_headers_over_the_bound_are_431(own_port: int, header: bytes, end: bytes) -> None:
    assert status_of(own_port, b"GET / HTTP/1.1\r\nHost: a\r\n" + header + end) in {400, 431}


def test_a_head_that_drips_over_the_bound_is_refused(own_port: int) -> None:
    with RawSocket(own_port) as raw:
        raw.send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(10):
            raw.send(b"a" * 2048)
        assert raw.read_head().startswith("HTTP/1.1 431 ")


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_never_ends_is_408(own_port: int, start: bytes) -> None:
    assert status_of(own_port, start) == 408


def test_a_second_request_that_never_ends_is_408(own_port: int) -> None:
    with RawSocket(own_port) as raw:
        raw.send(upgrade_request(without="Upgrade"))
        assert raw.read_head().startswith("HTTP/1.1 404 ")
        raw.send(b"GET / HTTP/1.1\r\n")
        assert raw.read_head().startswith("HTTP/1.1 408 ")


def test_garbage_is_400(own_port: int) -> None:
    assert status_of(own_port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no http\r\n\r\n") == 400


def test_a_client_that_goes_away_during_the_head_leaves_nothing(own_port: int) -> None:
    for _ in range(20):
        with RawSocket(own_port) as raw:
            raw.send(b"GET / HTTP/1.1\r\nHo")
    assert status_of(own_port, upgrade_request()) == 101


# -- bounds on connections


def test_a_connection_over_the_limit_is_told_to_come_back_later() -> None:
    with echo_thread(settings=TransportSettings(connections_max=2)) as running:
        kept = [RawSocket(running.port) for _ in range(2)]
        for raw in kept:
            raw.upgrade()
        with RawSocket(running.port) as third:
            third.upgrade()
            assert third.read_frame().close_code == BusyError.close_code == 1013
        for raw in kept:
            raw.socket.close()


def test_an_upgrade_behind_an_unanswered_request_is_refused(own_port: int) -> None:
    with RawSocket(own_port) as raw:
        raw.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + upgrade_request())
        answers = raw.read_all()
    assert b"HTTP/1.1 400 " in answers
    assert b"HTTP/1.1 101 " not in answers
