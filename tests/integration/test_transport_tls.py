"""The transport under TLS, through uvicorn's own options."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from collab_server.gateway.settings import TransportSettings
from tests.support.echo import Running
from tests.support.echothread import echo_thread
from tests.support.rawsocket import RawSocket, close_frame, frame
from tests.support.tools import needed


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    needed("openssl", "to make a certificate")
    folder: Path = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    settings = TransportSettings(close_timeout_s=1.0, message_bytes_max=4 << 20, head_timeout_s=1.0)
    with echo_thread(settings=settings, ssl_certfile=certificate, ssl_keyfile=key) as found:
        yield found


@pytest.fixture
def client(running: Running) -> Iterator[RawSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with RawSocket(running.port, context=context) as raw:
        yield raw


@pytest.mark.parametrize("size", [5, 70_000, 3 << 20])
def test_messages_come_back(client: RawSocket, size: int) -> None:
    client.upgrade(pipelined=frame(2, b"eager"))
    assert client.read_frame().payload == b"eager"
    for _ in range(3):
        client.send(frame(2, bytes(size)))
        assert client.read_frame().payload == bytes(size)


def test_a_close_is_answered(client: RawSocket) -> None:
    client.upgrade()
    client.send(close_frame(1000))
    assert client.read_close() == 1000


def test_a_broken_frame_is_told_its_code(client: RawSocket) -> None:
    client.upgrade()
    client.send(frame(3) + frame(2, bytes(1 << 20)))
    assert client.read_close() == 1002


def test_a_refused_upgrade_is_answered(client: RawSocket) -> None:
    assert client.upgrade(Sec_WebSocket_Version="8").startswith("HTTP/1.1 426 ")


def test_a_late_head_is_told_so(client: RawSocket) -> None:
    client.send(b"GET / HT")
    assert client.read_head().startswith("HTTP/1.1 408 ")
