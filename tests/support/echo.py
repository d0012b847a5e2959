"""``python -m tests.support.echo --port N``: echoes text and binary on exactly the server's transport.

For conformance suites and quick looks. ``--certificate`` and ``--key`` turn on TLS. Prints one line with
the address.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket as sockets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from collab_server.gateway.handshake import Request
from collab_server.gateway.observer import TransportObserver
from collab_server.gateway.settings import TransportSettings
from collab_server.gateway.upgrade import HandlerFactory, WebSocketServer
from collab_server.gateway.websocket import Socket, SocketHandler
from collab_server.wire.frame import Frame


class EchoHandler:
    """Sends back what comes, and stops reading while its answers are not taken."""

    def __init__(self) -> None:
        self.socket: Socket

    def on_open(self, socket: Socket) -> None:
        self.socket = socket

    def on_binary(self, data: bytes) -> None:
        self.socket.send(Frame(data))

    def on_text(self, text: str) -> None:
        self.socket.send_text(text)

    def on_full(self) -> None:
        self.socket.pause_reading()

    def on_drained(self) -> None:
        self.socket.resume_reading()

    def on_close(self, code: int, clean: bool) -> None:
        pass


def echo(_request: Request) -> SocketHandler:
    return EchoHandler()


async def not_found(scope: Any, receive: Any, send: Any) -> None:
    """What answers plain HTTP."""
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@dataclass
class Running:
    """A server in this process."""

    port: int
    transport: WebSocketServer
    scheme: str = field(default="ws")

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def serve(
    factory: HandlerFactory = echo,
    settings: TransportSettings | None = None,
    observer: TransportObserver | None = None,
    *,
    port: int = 0,
    with_own_http: bool = True,
    **options: Any,
) -> AsyncIterator[Running]:
    """Serve ``factory`` through uvicorn on the loopback interface until the block ends."""
    transport = WebSocketServer(factory, settings, observer)
    await transport.start()
    listener = sockets.socket()
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        not_found,
        http=transport.http_protocol if with_own_http else "httptools",
        ws=transport.ws_protocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        backlog=4096,
        **options,
    )
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.001)
        if task.done():
            task.result()
    try:
        scheme = "wss" if config.is_ssl else "ws"
        yield Running(listener.getsockname()[1], transport, scheme)
    finally:
        await transport.stop()
        server.should_exit = server.force_exit = True
        await task


class _QuietServer(uvicorn.Server):
    """Leaves the signals to whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def main() -> None:
    parser = argparse.ArgumentParser(description="Echo on the transport of the collaboration server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    chosen = parser.parse_args()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # A conformance suite sends messages of 16 MiB, and of 4 MiB in fragments of 64 bytes.
    settings = TransportSettings(fragments_max=1 << 17)
    tls = {"ssl_certfile": chosen.certificate, "ssl_keyfile": chosen.key} if chosen.certificate else {}
    async with serve(settings=settings, port=chosen.port, **tls) as running:
        sys.stdout.write(f"echo on {running.url} (pid {os.getpid()})\n")
        sys.stdout.flush()
        await stop.wait()
        running.transport.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(running.transport.wait_closed(), settings.close_timeout_s + 1)


def run() -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


if __name__ == "__main__":
    run()
