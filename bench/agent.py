"""``collab-bench agent``: generator processes for a run that is led from another machine.

Each connection is one generator process: its lines are passed to a worker's stdin, and the worker's to the
connection. When the connection ends, the worker stops. An agent puts load on whatever it is told to, so it
listens on loopback unless told otherwise, and a secret keeps strangers off.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import sys
from collections.abc import Callable
from typing import Final

from bench.run import child_environment
from bench.worker import LINE_BYTES_MAX

_HELLO_TIMEOUT_S: Final = 10.0
_CHUNK_BYTES: Final = 65_536


class Agent:
    """Serves until cancelled; ``port`` is known once ``start`` is done."""

    def __init__(self, secret: str, processes_max: int, on_event: Callable[[str], None]) -> None:
        self._secret = secret
        self._processes_max = processes_max
        self._on_event = on_event
        self._server: asyncio.Server | None = None
        self._running = 0
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen. OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=LINE_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def serve(self) -> None:
        """Until cancelled."""
        assert self._server is not None  # noqa: S101
        async with self._server:
            await self._server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        try:
            complaint = await self._greet(reader)
            if complaint:
                self._on_event(f"{peer[0]}: {complaint}")
                writer.write(
                    json.dumps({"type": "error", "message": f"the agent: {complaint}"}).encode() + b"\n"
                )
                await writer.drain()
                return
            self._running += 1
            self._on_event(f"{peer[0]}: a generator process starts")
            try:
                await self._work(reader, writer)
            finally:
                self._running -= 1
                self._on_event(f"{peer[0]}: a generator process has ended")
        except OSError as error:
            self._on_event(f"{peer[0]}: {error}")
        finally:
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader) -> str:
        """What speaks against serving this connection; empty for nothing."""
        try:
            async with asyncio.timeout(_HELLO_TIMEOUT_S):
                hello = json.loads(await reader.readline())
            secret = str(hello["secret"])
        except (TimeoutError, ValueError, KeyError, TypeError):
            return "that was no greeting of collab-bench"
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            return "not the secret"
        if self._running >= self._processes_max:
            return f"more than {self._processes_max} processes are not allowed"
        return ""

    async def _work(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=child_environment(), start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
        inward = asyncio.create_task(_pass_on(reader, process.stdin))
        try:
            await _pass_on(process.stdout, writer)
        finally:
            inward.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await inward
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            await process.wait()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK_BYTES):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
