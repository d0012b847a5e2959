"""Appends to a store for ever, and prints each row's id once it is committed: for tests that kill it.

python -m tests.support.appender URL ROOM
"""

from __future__ import annotations

import asyncio
import sys

from persistence.base import Append, Snapshot
from persistence.urls import open_store


async def main(url: str, room: str) -> None:
    store = open_store(url)
    await store.open()

    async def write(writer: int) -> None:
        number = 0
        while True:
            number += 1
            group = [Append(room, b"%d-%d-%d," % (writer, number, part) + bytes(500)) for part in range(3)]
            results = await store.append(group)
            lines = [
                f"{result.id} {writer}-{number}-{part}\n" for part, result in enumerate(results) if result.id
            ]
            sys.stdout.write("".join(lines))
            sys.stdout.flush()

    async def compact() -> None:
        # The snapshot names what it absorbed, so that nothing acknowledged may be missing anywhere.
        while True:
            document = await store.load(room)
            if document is not None and len(document.updates) > 30:
                old = document.snapshot.data if document.snapshot else b""
                new = b"".join(row.data.partition(b",")[0] + b"," for row in document.updates)
                await store.compact(room, Snapshot(old + new), [row.id for row in document.updates])
            await asyncio.sleep(0.01)

    await asyncio.gather(write(1), write(2), compact())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
