"""The echo server on uvloop in a thread of its own, for tests that speak to it with blocking sockets."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import uvloop

from tests.support.echo import Running, serve


@contextlib.contextmanager
def echo_thread(*arguments: Any, **options: Any) -> Iterator[Running]:
    """Serve until the block ends; the arguments are those of ``serve``."""
    started = threading.Event()
    found: list[Running] = []
    stop = asyncio.Event()

    async def main() -> None:
        async with serve(*arguments, **options) as running:
            found.append(running)
            started.set()
            await stop.wait()

    loop = uvloop.new_event_loop()

    def run() -> None:
        try:
            loop.run_until_complete(main())
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run, name="echo", daemon=True)
    thread.start()
    started.wait()
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
