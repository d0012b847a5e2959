"""pycrdt-websocket behind uvicorn, started by its own Python: pycrdt_server.py PORT."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvicorn  # type: ignore[import-not-found,unused-ignore]
from pycrdt.websocket import ASGIServer, WebsocketServer  # type: ignore[import-not-found,unused-ignore]


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    # Rooms stay, as on the other servers; an exception of one client is logged and does not end the server.
    server = WebsocketServer(auto_clean_rooms=False, exception_handler=lambda error, log: True)
    opening = asyncio.Lock()

    async def open_room(message: dict[str, Any], scope: dict[str, Any]) -> bool:
        # Two clients that open a room at the same moment can hang in its start: one after the other, then.
        async with opening:
            await server.get_room(scope["path"])
        return False

    async with server:
        app = ASGIServer(server, on_connect=open_room)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=port, log_level="warning", loop="uvloop", lifespan="off"
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
