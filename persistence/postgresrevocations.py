"""Revocations in PostgreSQL: the part of the store that keeps whose tokens are void."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from persistence.base import NewRevocation, Revocation
from persistence.names import with_nul, without_nul
from persistence.postgreshistory import LOCK

T = TypeVar("T")

REVOCATION_LOCK = 0x5C4E_71D2_0000_0003
"""The key of an advisory lock: a random high half, so that it meets nobody else's."""

ADD = """
insert into revocation (at_ms, until_ms, user_id, session_id, room) values ($1, $2, $3, $4, $5) returning id
"""
READ = """
select id, at_ms, until_ms, user_id, session_id, room from revocation where id > $1 order by id limit $2
"""
DROP = "with gone as (delete from revocation where until_ms < $1 returning 1) select count(*) from gone"


class PostgresRevocations(ABC):
    """The part of the store contract that is about revocations."""

    @abstractmethod
    async def _read(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do ``work`` in a transaction that sees one moment."""

    @abstractmethod
    async def _write(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do ``work`` in a transaction that is durable on return."""

    async def add_revocation(self, revocation: NewRevocation) -> int:
        """See the contract."""
        named = [
            None if text is None else without_nul(text)
            for text in (revocation.user, revocation.session, revocation.room)
        ]

        async def write(connection: Any) -> int:
            # One at a time until the commit: a lower id that is committed later would be missed by
            # whoever has read on to a higher one.
            await connection.execute(LOCK, REVOCATION_LOCK)
            revocation_id: int = await connection.fetchval(ADD, revocation.at_ms, revocation.until_ms, *named)
            return revocation_id

        return await self._write(write)

    async def revocations(self, after: int = 0, *, limit: int = 1000) -> Sequence[Revocation]:
        """See the contract."""

        async def read(connection: Any) -> list[Revocation]:
            rows = await connection.fetch(READ, after, max(0, limit))
            return [
                Revocation(at_ms, until_ms, _text(user), _text(session), _text(room), revocation_id)
                for revocation_id, at_ms, until_ms, user, session, room in rows
            ]

        return await self._read(read)

    async def drop_revocations(self, before_ms: int) -> int:
        """See the contract."""

        async def write(connection: Any) -> int:
            count: int = await connection.fetchval(DROP, before_ms)
            return count

        return await self._write(write)


def _text(stored: str | None) -> str | None:
    return None if stored is None else with_nul(stored)
