"""Real Yjs clients for Python tests: a Node process with many of them, and a method for each thing they do.

The Node side is ``peers.mjs``. ``run`` and ``wait`` take JavaScript that sees ``Y``, ``doc``, ``provider``,
``awareness``, ``args`` and ``memory`` (a bag of the peer's own that outlives the call).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.node import node_command

_SCRIPT = Path(__file__).with_name("peers.mjs")
_LINE_BYTES_MAX = 256 * 1024 * 1024
_ANSWER_MARGIN_S = 30.0

KINDS = ("text", "array", "map", "xml")


class PeerFailedError(AssertionError):
    """A client did not do, or did not see, what the test asked for."""


class Peers:
    """A Node process full of Yjs clients, known by names of the test's choice."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = count()
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        command, env = node_command(_SCRIPT)
        self._process = await asyncio.create_subprocess_exec(
            *command,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
        assert self._reader
        await self._reader

    async def kill(self) -> None:
        """End the process at once, as a power cut would: no client says goodbye."""
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def _read(self) -> None:
        assert self._process
        assert self._process.stdout
        while line := await self._process.stdout.readline():
            answer = json.loads(line)
            waiting = self._calls.pop(answer["call"])
            if waiting.done():
                continue
            if "error" in answer:
                waiting.set_exception(PeerFailedError(answer["error"]))
            else:
                waiting.set_result(answer["value"])
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(PeerFailedError("the Node process has ended"))

    async def _call(self, command: str, seconds: float = 30, **args: Any) -> Any:
        assert self._process
        assert self._process.stdin
        call = next(self._numbers)
        waiting = asyncio.get_running_loop().create_future()
        self._calls[call] = waiting
        line = json.dumps({"call": call, "command": command, "seconds": seconds, **args})
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()
        return await asyncio.wait_for(waiting, seconds + _ANSWER_MARGIN_S)

    async def open(
        self,
        peer: str,
        room: str,
        *,
        version: int = 3,
        client: int | None = None,
        url: str | None = None,
        **options: Any,
    ) -> str:
        """A new document and its y-websocket provider of this major version; returns the peer's name.

        Options: ``connect`` (False: stay offline), ``params`` (the query), ``protocols``, ``gc``.
        """
        await self._call(
            "open",
            id=peer,
            room=room,
            version=version,
            client=client,
            url=url or self.url,
            options=options,
        )
        return peer

    async def open_many(self, count: int, room: str, *, prefix: str = "p", **options: Any) -> list[str]:
        """Many peers in one room, with y-websocket 3 and 2 in turn, all connecting in the same instant."""
        names = [f"{prefix}{number}" for number in range(count)]
        opening = (
            self.open(name, room, version=3 - number % 2, **options) for number, name in enumerate(names)
        )
        await asyncio.gather(*opening)
        return names

    async def open_subdocument(self, peer: str, parent: str, path: str, *, version: int = 3) -> str:
        """The subdocument at ``path`` of the parent's map ``subdocs``, in the room of its guid."""
        guid = await self._call(
            "openSubdoc", id=peer, parent=parent, path=path, url=self.url, version=version
        )
        return str(guid)

    async def open_socket(self, socket: str, *, version: int, url: str | None = None) -> str:
        """A socket of the Hocuspocus provider of this major version; returns its name."""
        await self._call("openSocket", id=socket, version=version, url=url or self.url)
        return socket

    async def open_document(
        self, peer: str, socket: str, room: str, *, client: int | None = None, **options: Any
    ) -> str:
        """A new document and its Hocuspocus provider on a socket; returns the peer's name.

        Options: ``token``, ``sessionAwareness``. ``memory`` of such a peer holds ``token`` (what it answers
        when it is asked), ``asked`` (how often it was), ``scopes``, ``denied``, ``closed`` and ``stateless``.
        """
        await self._call("openDocument", id=peer, socket=socket, room=room, client=client, options=options)
        return peer

    async def close_socket(self, socket: str) -> None:
        """Destroy a socket for good."""
        await self._call("closeSocket", id=socket)

    async def synced(self, *peers: str, seconds: float = 15) -> None:
        """Wait until each of the peers is synced."""
        await self._call("synced", seconds, ids=peers)

    async def run(self, peer: str, code: str, **args: Any) -> Any:
        """Run JavaScript with the peer's objects; what it returns."""
        return await self._call("run", id=peer, code=code, args=args)

    async def wait(self, peer: str, code: str, *, seconds: float = 10, **args: Any) -> Any:
        """Wait until a JavaScript expression is true; its value."""
        return await self._call("wait", seconds, id=peer, code=code, args=args)

    async def edit(
        self,
        peers: Sequence[str],
        *,
        seed: int,
        steps: int,
        kinds: Sequence[str] = KINDS,
        pause_ms: int = 0,
        seconds: float = 60,
    ) -> None:
        """Let all peers make so many random transactions, at the same time, at most ``pause_ms`` apart."""
        await self._call("edit", seconds, ids=peers, seed=seed, steps=steps, kinds=kinds, pause=pause_ms)

    async def converge(self, *peers: str, seconds: float = 30) -> Any:
        """Wait until all have the same structs, deletions and content; that ``content`` and ``snapshot``."""
        return await self._call("converge", seconds, ids=peers)

    async def disconnect(self, peer: str) -> None:
        """Go offline politely, with a close frame."""
        await self.run(peer, "provider.disconnect()")
        await self.wait(peer, "provider.ws === null")

    async def connect(self, peer: str) -> None:
        """Go online and wait until synced."""
        await self.run(peer, "provider.connect()")
        await self.synced(peer)

    async def cut(self, peer: str) -> None:
        """End the connection without a close frame, and stay offline."""
        await self.run(peer, "provider.shouldConnect = false; provider.ws.terminate()")
        await self.wait(peer, "provider.ws === null")

    async def close(self, peer: str) -> None:
        """Destroy provider and document."""
        await self._call("close", id=peer)
