"""The application decides: it is asked over HTTP who may do what in a room.

Its answers are kept for a while. When it does not answer, or answers what cannot be understood, nobody is let
in (1013: come back later), and after some failures it is left alone for a while. ``docs/access.md`` shows
what is sent and what may be answered.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import structlog

from collab_server.access.breaker import Breaker
from collab_server.access.fetch import FetchError
from collab_server.access.grants import EVERYTHING, ClaimsError, Pattern, grants_of, identity_of
from collab_server.access.identity import Admission, Caller
from collab_server.access.tokens import Verified, read_json, time_of
from collab_server.errors import BusyError, NotAuthenticatedError, RefusedError
from collab_server.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

Post = Callable[[Any], Awaitable[tuple[int, bytes]]]
"""Sends a value as JSON to the application; status and body of its answer. Raises FetchError."""
_OWN_CLAIMS: Final = ("sub", "name", "tenant", "sid", "jti", "invisible")
_REFUSAL_KEPT_S: Final = 5.0
_WAITING_FACTOR: Final = 10


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """Bounds."""

    cache_s: float
    cache_max: int
    concurrent_max: int
    failures_max: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """An answer that is no. Kept as a value, because an error that is raised twice grows."""

    error: type[NotAuthenticatedError | RefusedError | BusyError]
    reason: str


class _OddClaimsError(ClaimsError):
    """The application answered, and what it says of this one user cannot be understood."""


_Answer = Admission | _Refused
_AWAY: Final = _Refused(BusyError, "who may enter cannot be found out now")


class Callback:
    """Asks the application, and remembers what it said."""

    def __init__(
        self,
        post: Post,
        settings: CallbackSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        wall_clock_ms: Callable[[], int],
    ) -> None:
        self._post = post
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._wall_clock_ms = wall_clock_ms
        self._breaker = Breaker(settings.failures_max, settings.pause_s)
        self._kept: OrderedDict[bytes, tuple[float, _Answer]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[_Answer]] = {}
        metrics.access_callback_cached.set_function(lambda: len(self._kept))
        metrics.access_callbacks_waiting.set_function(lambda: len(self._asking))

    async def admit(
        self,
        token: str | None,
        verified: Verified | None,
        room: str | None,
        caller: Caller,
        *,
        fresh: bool = False,
    ) -> Admission:
        """What the application lets the bearer do in ``room``, or in all rooms (None).

        Args:
            token: as it came; None if there is none.
            verified: the same, if it was verified with a key.
            room: its decoded name.
            caller: whose address and origin are told to the application.
            fresh: ask, also if an answer is kept.

        Raises:
            NotAuthenticatedError: It answered 401.
            RefusedError: It answered 403, or granted nothing here.
            BusyError: It did not answer, or not what can be understood.
        """
        asked = [token, room, caller.address, caller.origin]
        # A digest, so that no token and nothing long is kept.
        key = sha256(json.dumps(asked).encode()).digest()
        answer = None if fresh else self._remembered(key)
        if answer is None:
            answer = await self._asked_once(key, token, verified, room, caller)
        else:
            self._metrics.count_access_callback("cached")
        if isinstance(answer, _Refused):
            raise answer.error(answer.reason)
        return answer

    async def close(self) -> None:
        """Give up the questions that are under way."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    def _remembered(self, key: bytes) -> _Answer | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        until, answer = kept
        if self._clock() >= until or (isinstance(answer, Admission) and self._is_over(answer.expires_at_ms)):
            del self._kept[key]
            return None
        return answer

    def _is_over(self, expires_at_ms: int | None) -> bool:
        return expires_at_ms is not None and expires_at_ms <= self._wall_clock_ms()

    def _remember(self, key: bytes, answer: _Answer) -> None:
        keep_s = self._settings.cache_s
        if isinstance(answer, _Refused):
            keep_s = min(keep_s, _REFUSAL_KEPT_S)
        if not keep_s or answer is _AWAY:
            return
        self._kept[key] = self._clock() + keep_s, answer
        self._kept.move_to_end(key)
        while len(self._kept) > self._settings.cache_max:
            self._kept.popitem(last=False)

    async def _asked_once(
        self, key: bytes, token: str | None, verified: Verified | None, room: str | None, caller: Caller
    ) -> _Answer:
        """Ask; who asks the same meanwhile shares the answer."""
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= self._settings.concurrent_max * (1 + _WAITING_FACTOR):
                self._metrics.count_access_callback("full")
                return _AWAY
            if not self._breaker.may_try(self._clock()):
                self._metrics.count_access_callback("paused")
                return _AWAY
            work = self._ask(key, token, verified, room, caller)
            task = asyncio.get_running_loop().create_task(work, name="access callback")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        # Shielded: who waits may go away, the others still wait.
        return await asyncio.shield(task)

    async def _ask(
        self, key: bytes, token: str | None, verified: Verified | None, room: str | None, caller: Caller
    ) -> _Answer:
        question: dict[str, Any] = {
            "token": token,
            "room": room,
            "address": caller.address,
            "origin": caller.origin,
        }
        if verified is not None:
            question["claims"] = verified.claims
        started, asked_at_ms = self._clock(), self._wall_clock_ms()
        works = False
        try:
            status, body = await self._post(question)
            answer = self._read(status, body, verified, room, asked_at_ms)
            works = True
        except (FetchError, ClaimsError) as error:
            # What it says of one user can be odd because of that user, for whom the others shall not wait.
            works = isinstance(error, _OddClaimsError)
            self._metrics.count_access_callback("failed")
            log.warning("the application did not say who may enter", error=str(error))
            answer = _AWAY
        else:
            self._metrics.count_access_callback("answered")
        finally:
            self._metrics.access_callback_seconds.observe(self._clock() - started)
            if works:
                self._breaker.succeeded()
            else:
                self._breaker.failed(self._clock())
        self._remember(key, answer)
        return answer

    def _read(
        self, status: int, body: bytes, verified: Verified | None, room: str | None, asked_at_ms: int
    ) -> _Answer:
        """What an answer means. Raises ClaimsError for what cannot be understood."""
        if status == 401:
            return _Refused(NotAuthenticatedError, "the application does not know this token")
        if status == 403:
            return _Refused(RefusedError, "the application does not let you in here")
        if status != 200:
            raise ClaimsError(f"the answer was {status}")
        try:
            answer = read_json(body)
        except ValueError:
            raise ClaimsError("the answer is no JSON") from None
        if not isinstance(answer, dict):
            raise ClaimsError("the answer is no JSON object")
        try:
            return self._admission(answer, verified, room, asked_at_ms)
        except ClaimsError as error:
            raise _OddClaimsError(str(error)) from None

    def _admission(
        self, answer: Mapping[str, Any], verified: Verified | None, room: str | None, asked_at_ms: int
    ) -> _Answer:
        grants = grants_of(answer, here=EVERYTHING if room is None else Pattern.exactly(room))
        grant = grants.everywhere() if room is None else grants.of(room)
        if grant is None or grant.role is None:
            return _Refused(RefusedError, "the application does not let you in here")
        # Not when it was read: what was revoked meanwhile may not have been known to the application.
        issued_at_ms = asked_at_ms if verified is None else verified.issued_at_ms
        expires_at_ms = None if verified is None else verified.expires_at_ms
        # A null says nothing of who it is: it must not make somebody nobody, whom nothing is revoked for.
        who = {name: value for name, value in answer.items() if value is not None}
        if verified is not None:
            who = {name: verified.claims[name] for name in _OWN_CLAIMS if name in verified.claims} | who
        elif (issued := time_of(answer, "iat", ClaimsError)) is not None:
            issued_at_ms = round(issued * 1000)
        if (expires := time_of(answer, "exp", ClaimsError)) is not None:
            ends_at_ms = round(expires * 1000)
            expires_at_ms = ends_at_ms if expires_at_ms is None else min(expires_at_ms, ends_at_ms)
        if self._is_over(expires_at_ms):
            return _Refused(NotAuthenticatedError, "the token has run out")
        return Admission(identity_of(who, issued_at_ms), grant.role, grant.writable_roots, expires_at_ms)
