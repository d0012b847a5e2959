"""``access/callback`` in a ``TokenGatekeeper``: an application that answers, lies, fails and goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from collab_server.access.callback import Callback, CallbackSettings
from collab_server.access.fetch import Fetcher, FetchError
from collab_server.access.gatekeeper import TokenGatekeeper
from collab_server.access.identity import Admission, Caller, Identity, Role
from collab_server.access.keys import FixedKeys, secret_key
from collab_server.access.revocations import Held, Revocations
from collab_server.access.tokens import TokenRules, Tokens
from collab_server.errors import BusyError, NotAuthenticatedError, RefusedError
from collab_server.telemetry.metrics import Metrics
from tests.support.tokens import SECRET, secret
from tests.support.webstub import Answer, WebStub, never, reply, web_stub

NOW_S = 1_800_000_000
HERE = Caller("192.0.2.1", is_loopback=False, origin="https://app.example")
SETTINGS = CallbackSettings(cache_s=30, cache_max=100, concurrent_max=4, failures_max=3, pause_s=10)


class World:
    """The clocks, and an application."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics()
        self.stub = WebStub()
        self.revocations = Revocations()

    def clock(self) -> float:
        return self.now

    def wall_clock_ms(self) -> int:
        return round((NOW_S + self.now) * 1000)

    def count(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value("collab_access_callbacks_total", {"outcome": outcome})
        return value or 0.0


Make = Callable[..., TokenGatekeeper]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with web_stub() as stub:
        world.stub = stub
        yield world


@pytest.fixture
async def make(world: World) -> AsyncIterator[Make]:
    """A gatekeeper that asks the application."""
    owned: list[Fetcher | Callback] = []

    def gatekeeper(
        *,
        settings: CallbackSettings = SETTINGS,
        keys: bool = False,
        anonymous: bool = False,
        timeout_s: float = 20,
    ) -> TokenGatekeeper:
        fetcher = Fetcher(timeout_s=timeout_s, bytes_max=4096, connections_max=settings.concurrent_max)
        callback = Callback(
            lambda question: fetcher.post(f"{world.stub.url}/access", question),
            settings,
            world.metrics,
            clock=world.clock,
            wall_clock_ms=world.wall_clock_ms,
        )
        owned.extend((callback, fetcher))
        tokens = None
        if keys:
            known = FixedKeys([secret_key(SECRET.encode())])
            tokens = Tokens([known], TokenRules(), wall_clock_ms=world.wall_clock_ms)
        return TokenGatekeeper(tokens, callback, Role.VIEWER if anonymous else None, world.revocations)

    yield gatekeeper
    for one in owned:
        await one.close()


def says(**answer: Any) -> bytes:
    return reply(answer)


# -- what is asked, and what an answer means


async def test_the_application_is_told_who_asks_for_what(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor")
    await make().admit("opaque-\u00e9-\ud800", "trip/\u00fc", HERE)
    (asked,) = world.stub.asked
    assert (asked.method, asked.path) == ("POST", "/access")
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body) == {
        "token": "opaque-\u00e9-\ud800",
        "room": "trip/\u00fc",
        "address": "192.0.2.1",
        "origin": "https://app.example",
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"role": "editor"}, Admission(Identity(issued_at_ms=NOW_S * 1000), Role.EDITOR)),
        (
            {
                "role": "editor",
                "roots": ["itinerary"],
                "sub": "ada",
                "name": "Ada",
                "tenant": "t",
                "sid": "s",
            },
            Admission(
                Identity("ada", "Ada", "s", "t", issued_at_ms=NOW_S * 1000),
                Role.EDITOR,
                frozenset({"itinerary"}),
            ),
        ),
        (
            {"role": "commenter", "exp": NOW_S + 60, "iat": NOW_S - 60, "invisible": True},
            Admission(
                Identity(invisible=True, issued_at_ms=(NOW_S - 60) * 1000),
                Role.COMMENTER,
                frozenset({"comments"}),
                (NOW_S + 60) * 1000,
            ),
        ),
        ({"rooms": {"trip-*": "owner"}}, Admission(Identity(issued_at_ms=NOW_S * 1000), Role.OWNER)),
    ],
)
async def test_an_answer_has_the_claims_of_a_token(
    world: World, make: Make, answer: dict[str, Any], expected: Admission
) -> None:
    world.stub.answer = reply(answer)
    assert await make().admit("t", "trip-1", HERE) == expected


async def test_a_role_is_for_the_room_that_was_asked_about_whatever_its_name(
    world: World, make: Make
) -> None:
    world.stub.answer = says(role="owner")
    assert (await make().admit("t", "*", HERE)).role is Role.OWNER
    assert json.loads(world.stub.asked[-1].body)["room"] == "*"
    assert (await make().admit_everywhere("t", HERE)).role is Role.OWNER
    assert json.loads(world.stub.asked[-1].body)["room"] is None
    world.stub.answer = says(rooms={"trip-*": "owner"})
    with pytest.raises(RefusedError):
        await make().admit_everywhere("t", HERE)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"", "401 Unauthorized"), NotAuthenticatedError),
        (reply({"role": "editor"}, "403 Forbidden"), RefusedError),
        (says(role="none"), RefusedError),
        (says(), RefusedError),
        (says(rooms={"other": "editor"}), RefusedError),
        (says(role="editor", exp=NOW_S), NotAuthenticatedError),
        (says(role="editor", exp=1), NotAuthenticatedError),
    ],
)
async def test_a_no_is_a_no(world: World, make: Make, answer: bytes, error: type[Exception]) -> None:
    world.stub.answer = answer
    gatekeeper = make()
    for _ in range(10):
        with pytest.raises(error):
            await gatekeeper.admit("t", "trip-1", HERE)
    assert world.count("failed") == 0
    assert len(world.stub.asked) == 1, "a refusal is kept for a moment"
    world.now += 5
    with pytest.raises(error):
        await gatekeeper.admit("t", "trip-1", HERE)
    assert len(world.stub.asked) == 2


FAILURES: dict[str, tuple[Answer | bytes, str]] = {
    "never answers": (never, "no answer"),
    "goes away": (b"", ""),
    "fails": (reply({"role": "owner"}, "500 Internal Server Error"), "500"),
    "is too busy": (reply({"role": "owner"}, "429 Too Many Requests"), "429"),
    "is not there": (reply({"role": "owner"}, "404 Not Found"), "404"),
    "leads away": (reply(b"", "307 Temporary Redirect", Location="/elsewhere"), "307"),
    "says something with another 2xx": (reply({"role": "owner"}, "201 Created"), "201"),
    "says nothing": (reply(b""), "no JSON"),
    "says garbage": (reply(b"\xff\x00"), "no JSON"),
    "says a list": (reply([{"role": "owner"}]), "no JSON object"),
    "says true": (reply(b"true"), "no JSON object"),
    "says two things at once": (reply(b'{"role": "viewer", "role": "owner"}'), "no JSON"),
    "says no number": (reply(b'{"role": "editor", "exp": NaN}'), "no JSON"),
    "nests deeply": (reply(b"[" * 4000), "no JSON"),
    "says too much": (reply(b'{"role": "owner"}' + b" " * 5000), "larger"),
    "knows another role": (says(role="admin"), "role must be"),
    "has a role of another type": (says(role=4), "role must be"),
    "has roots of another type": (says(role="editor", roots="all"), "roots must be"),
    "has a sub of another type": (says(role="editor", sub=5), "sub must be"),
    "has an exp of another type": (says(role="editor", exp="soon"), "exp is no time"),
    "has an exp in milliseconds": (says(role="editor", exp=NOW_S * 1000 + 60_000), "exp is no time"),
}


@pytest.mark.parametrize(("answer", "told"), FAILURES.values(), ids=FAILURES)
async def test_nobody_gets_in_while_the_application(
    world: World, make: Make, answer: Answer | bytes, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.stub.answer = answer
    gatekeeper = make(timeout_s=0.3 if answer is never else 20)
    with pytest.raises(BusyError):
        await gatekeeper.admit("marker-of-a-token", "trip-1", HERE)
    assert world.count("failed") == 1
    assert len(world.stub.asked) == 1
    captured = capsys.readouterr()
    logged = captured.out + captured.err
    assert told in logged
    assert "marker-of-a-token" not in logged
    # That was no answer, so it is not kept.
    world.stub.answer = says(role="editor")
    assert (await make().admit("marker-of-a-token", "trip-1", HERE)).role is Role.EDITOR


# -- what is kept


async def test_an_answer_is_kept_for_the_same_token_room_and_address(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor")
    gatekeeper = make()
    elsewhere = Caller("192.0.2.2", is_loopback=False, origin=HERE.origin)
    other_page = Caller(HERE.address, is_loopback=False, origin="https://other.example")
    for _ in range(3):
        for token, room, caller in (
            ("t", "a", HERE),
            ("u", "a", HERE),
            ("t", "b", HERE),
            ("t", "a", elsewhere),
            ("t", "a", other_page),
        ):
            await gatekeeper.admit(token, room, caller)
        await gatekeeper.admit_everywhere("t", HERE)
    assert len(world.stub.asked) == 6
    assert (world.count("answered"), world.count("cached")) == (6, 12)
    world.now = 30
    await gatekeeper.admit("t", "a", HERE)
    assert len(world.stub.asked) == 7


async def test_an_answer_is_not_kept_longer_than_it_holds(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor", exp=NOW_S + 3)
    gatekeeper = make()
    await gatekeeper.admit("t", "a", HERE)
    world.now = 2.9
    await gatekeeper.admit("t", "a", HERE)
    assert len(world.stub.asked) == 1
    world.now = 3
    world.stub.answer = says(role="viewer")
    assert (await gatekeeper.admit("t", "a", HERE)).role is Role.VIEWER


async def test_no_more_answers_are_kept_than_allowed(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor")
    gatekeeper = make(
        settings=CallbackSettings(30, cache_max=2, concurrent_max=4, failures_max=3, pause_s=10)
    )
    for room in ("a", "b", "c", "c", "b", "a"):
        await gatekeeper.admit("t", room, HERE)
    assert len(world.stub.asked) == 4
    assert world.metrics.registry.get_sample_value("collab_access_callback_cached") == 2


async def test_nothing_is_kept_where_that_is_not_wanted(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor")
    gatekeeper = make(settings=CallbackSettings(0, cache_max=2, concurrent_max=4, failures_max=3, pause_s=10))
    for _ in range(3):
        await gatekeeper.admit("t", "a", HERE)
    assert len(world.stub.asked) == 3


# -- how often it is asked


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - the test's own time limit is the patience
        await asyncio.sleep(0.01)


async def held_back(world: World) -> asyncio.Event:
    """The application answers when the event is set."""
    gate = asyncio.Event()

    async def answer(_: Any) -> bytes:
        await gate.wait()
        return says(role="editor")

    world.stub.answer = answer
    return gate


async def test_who_asks_the_same_at_once_shares_one_question_and_may_go_away(
    world: World, make: Make
) -> None:
    gate = await held_back(world)
    gatekeeper = make()
    waiting = [asyncio.create_task(gatekeeper.admit("t", "a", HERE)) for _ in range(50)]
    await until(lambda: world.stub.waiting > 0)
    waiting[0].cancel()
    gate.set()
    admissions = await asyncio.gather(*waiting[1:])
    assert {admission.role for admission in admissions} == {Role.EDITOR}
    assert len(world.stub.asked) == 1


async def test_questions_under_way_and_waiting_are_bounded(world: World, make: Make) -> None:
    gate = await held_back(world)
    gatekeeper = make()
    waiting = [asyncio.create_task(gatekeeper.admit("t", f"room-{n}", HERE)) for n in range(50)]
    await until(lambda: world.stub.waiting == SETTINGS.concurrent_max and world.count("full") == 6)
    assert world.stub.waiting == SETTINGS.concurrent_max
    gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(one, BusyError) for one in found) == 6
    assert sum(isinstance(one, Admission) for one in found) == 44


async def test_an_application_that_fails_is_left_alone_for_a_while(world: World, make: Make) -> None:
    gatekeeper = make()
    world.stub.answer = says(role="editor")
    await gatekeeper.admit("t", "known", HERE)
    world.stub.answer = reply(b"", "500 Oops")

    async def fails(room: str) -> None:
        with pytest.raises(BusyError):
            await gatekeeper.admit("t", room, HERE)

    for n in range(10):
        await fails(f"room-{n}")
    assert len(world.stub.asked) == 1 + 3
    assert (world.count("failed"), world.count("paused")) == (3, 7)
    # What it has said before still holds.
    await gatekeeper.admit("t", "known", HERE)
    world.now = 10
    await fails("a")
    await fails("b")
    assert len(world.stub.asked) == 1 + 4, "after the pause one question tries it"
    world.now = 20
    world.stub.answer = says(role="viewer")
    for n in range(5):
        assert (await gatekeeper.admit("t", f"room-{n}", HERE)).role is Role.VIEWER


async def test_what_it_says_of_one_user_that_is_odd_makes_nobody_else_wait(world: World, make: Make) -> None:
    gatekeeper = make()
    world.stub.answer = says(role="editor", sub="eve", name="x" * 300)
    for n in range(2 * SETTINGS.failures_max):
        with pytest.raises(BusyError):
            await gatekeeper.admit("eve", f"room-{n}", HERE)
    assert (world.count("failed"), world.count("paused")) == (2 * SETTINGS.failures_max, 0)
    world.stub.answer = says(role="editor", sub="ada")
    assert (await gatekeeper.admit("ada", "trip", HERE)).identity.user_id == "ada"


async def test_questions_under_way_end_with_the_server(world: World) -> None:
    async def post(_: Any) -> tuple[int, bytes]:
        await asyncio.Event().wait()
        raise FetchError

    callback = Callback(post, SETTINGS, world.metrics, clock=world.clock, wall_clock_ms=world.wall_clock_ms)
    waiting = asyncio.create_task(callback.admit("t", None, "a", HERE))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await callback.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# -- together with keys, and without a token


async def test_with_keys_only_genuine_tokens_reach_the_application(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor")
    gatekeeper = make(keys=True)
    for token in ("forged", secret("x" * 32).sign({"exp": NOW_S + 60}), secret().sign({"exp": NOW_S - 1})):
        with pytest.raises(NotAuthenticatedError):
            await gatekeeper.admit(token, "a", HERE)
    assert world.stub.asked == []


async def test_with_keys_the_application_decides_and_the_token_says_who(world: World, make: Make) -> None:
    claims = {
        "sub": "ada",
        "name": "A",
        "sid": "s",
        "exp": NOW_S + 60,
        "iat": NOW_S - 5,
        "rooms": {"*": "owner"},
    }
    world.stub.answer = says(role="viewer", name="Ada")
    admission = await make(keys=True).admit(secret().sign(claims), "a", HERE)
    assert admission == Admission(
        Identity("ada", "Ada", "s", issued_at_ms=(NOW_S - 5) * 1000), Role.VIEWER, None, (NOW_S + 60) * 1000
    )
    assert json.loads(world.stub.asked[0].body)["claims"] == claims
    world.stub.answer = says(role="viewer", exp=NOW_S + 30, iat=1)
    admission = await make(keys=True).admit(secret().sign(claims), "a", HERE)
    assert (admission.expires_at_ms, admission.identity.issued_at_ms) == (
        (NOW_S + 30) * 1000,
        (NOW_S - 5) * 1000,
    )
    world.stub.answer = says(rooms={"b": "editor"})
    with pytest.raises(RefusedError):
        await make(keys=True).admit(secret().sign(claims), "a", HERE)


async def test_without_a_token_the_application_is_asked_only_where_that_is_allowed(
    world: World, make: Make
) -> None:
    world.stub.answer = says(role="commenter")
    for keys in (False, True):
        closed = make(keys=keys)
        assert not closed.admits_anonymous
        for token in (None, ""):
            with pytest.raises(NotAuthenticatedError, match="needed"):
                await closed.admit(token, "a", HERE)
    assert world.stub.asked == []
    gatekeeper = make(anonymous=True)
    assert gatekeeper.admits_anonymous
    assert (await gatekeeper.admit(None, "a", HERE)).role is Role.COMMENTER
    assert json.loads(world.stub.asked[0].body)["token"] is None


async def test_a_token_that_cannot_be_understood_is_not_the_applications_fault(
    world: World, make: Make
) -> None:
    gatekeeper = make(keys=True)
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError, match="not understood"):
            await gatekeeper.admit(secret().sign({"tenant": 42, "exp": NOW_S + 60}), "a", HERE)
    world.stub.answer = says(role="editor")
    assert (await gatekeeper.admit(secret().sign({"exp": NOW_S + 60}), "a", HERE)).role is Role.EDITOR


# -- revoked


async def test_after_a_revocation_the_application_is_asked_again(world: World, make: Make) -> None:
    world.stub.answer = says(role="editor", sub="ada")
    gatekeeper = make()
    await gatekeeper.admit("t", "a", HERE)
    world.now = 1
    world.revocations.add(Held("ada", None, None, world.wall_clock_ms(), world.wall_clock_ms() + 10**6))
    world.now = 2
    world.stub.answer = reply(b"", "401 Unauthorized")
    with pytest.raises(NotAuthenticatedError):
        await gatekeeper.admit("t", "a", HERE)
    world.now = 8
    world.stub.answer = says(role="viewer", sub="ada")
    assert (await gatekeeper.admit("t", "a", HERE)).role is Role.VIEWER
    # Where the application says since when it knows the token, that counts.
    world.stub.answer = says(role="editor", sub="ada", iat=NOW_S)
    with pytest.raises(NotAuthenticatedError, match="revoked"):
        await gatekeeper.admit("t", "b", HERE)


async def test_what_the_application_was_asked_before_a_revocation_lets_nobody_in_after_it(
    world: World, make: Make
) -> None:
    gatekeeper = make()

    async def revoked_meanwhile(_: Any) -> bytes:
        world.now = 1
        at_ms = world.wall_clock_ms()
        world.revocations.add(Held("ada", None, None, at_ms, at_ms + 10**6))
        world.now = 2
        world.stub.answer = reply(b"", "403 Forbidden")
        return says(role="editor", sub="ada")

    world.stub.answer = revoked_meanwhile
    with pytest.raises(RefusedError):
        await gatekeeper.admit("t", "a", HERE)
    assert len(world.stub.asked) == 2


@pytest.mark.parametrize("claim", ["sub", "sid", "jti", "name", "tenant"])
async def test_a_null_in_the_answer_does_not_unname_the_bearer_of_a_token(
    world: World, make: Make, claim: str
) -> None:
    claims = {"sub": "ada", "jti": "s", "name": "Ada", "tenant": "t", "iat": NOW_S, "exp": NOW_S + 60}
    world.stub.answer = says(role="editor", **{claim: None})
    admission = await make(keys=True).admit(secret().sign(claims), "a", HERE)
    assert admission.identity == Identity("ada", "Ada", "s", "t", issued_at_ms=NOW_S * 1000)


async def test_a_token_of_a_key_that_was_revoked_stays_so_whatever_the_application_says(
    world: World, make: Make
) -> None:
    world.stub.answer = says(role="editor")
    gatekeeper = make(keys=True)
    token = secret().sign({"sub": "ada", "iat": NOW_S, "exp": NOW_S + 60})
    await gatekeeper.admit(token, "a", HERE)
    world.revocations.add(Held("ada", None, None, NOW_S * 1000 + 500, NOW_S * 2000))
    for _ in range(5):
        with pytest.raises(NotAuthenticatedError, match="revoked"):
            await gatekeeper.admit(token, "a", HERE)
    assert len(world.stub.asked) == 1
