"""``access/assembly`` and the gatekeepers: who is let in by which settings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from collab_server.access.assembly import Access, check_exposure
from collab_server.access.gatekeeper import OpenGatekeeper
from collab_server.access.identity import ANONYMOUS, Admission, Caller, Role
from collab_server.access.issuing import issue
from collab_server.access.revocations import Held, Revocations
from collab_server.config import RoleName, Settings
from collab_server.errors import BusyError, ConfigError, NotAuthenticatedError, RefusedError
from collab_server.telemetry.metrics import Metrics
from tests.support.tokens import SECRET, SigningKey, claims, ec_key, ed_key, key_set, rsa_key, secret
from tests.support.webstub import reply, web_stub

HERE = Caller("127.0.0.1", is_loopback=True)
AWAY = Caller("192.0.2.1", is_loopback=False)
OTHER_SECRET = "another secret, also of 32 bytes or more"
NOW_MS = 1_800_000_000_000


class World:
    def __init__(self) -> None:
        self.metrics = Metrics()
        self.revocations = Revocations()
        self.now = 0.0

    def outcomes(self) -> dict[str, float]:
        return {
            sample.labels["outcome"]: sample.value
            for family in self.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "collab_admissions_total"
        }


Make = Callable[..., Access]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def make(world: World) -> AsyncIterator[Make]:
    made: list[Access] = []

    def access(**settings: Any) -> Access:
        one = Access(
            Settings(**settings),
            world.metrics,
            clock=lambda: world.now,
            wall_clock_ms=lambda: NOW_MS,
            random=lambda: 0.0,
            revoked=world.revocations,
        )
        made.append(one)
        return one

    yield access
    for one in made:
        await one.close()


def granted(key: SigningKey, **more: Any) -> str:
    return key.sign(claims(iat=NOW_MS // 1000, exp=NOW_MS // 1000 + 60, **more))


# -- without keys


async def test_without_keys_this_machine_is_served_as_owner_and_nobody_else(make: Make, world: World) -> None:
    access = make()
    await access.open()
    assert access.trouble is None
    assert access.gatekeeper.admits_anonymous
    for token in (None, "", "whatever-an-application-sends"):
        assert await access.gatekeeper.admit(token, "a", HERE) == Admission(ANONYMOUS, Role.OWNER)
        assert (await access.gatekeeper.admit_everywhere(token, HERE)).role is Role.OWNER
        with pytest.raises(RefusedError, match="its own machine only"):
            await access.gatekeeper.admit(token, "a", AWAY)
        with pytest.raises(RefusedError):
            await access.gatekeeper.admit_everywhere(token, AWAY)
    assert world.outcomes() == {"admitted": 3, "refused": 3}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104 - that is what is refused
def test_without_keys_other_machines_are_not_served_by_accident(host: str) -> None:
    with pytest.raises(
        ConfigError, match="there is no key to check tokens with: set --jwt-secret"
    ) as refused:
        check_exposure(Settings(host=host))
    assert "--allow-anonymous" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_may_be_served_without_keys(host: str) -> None:
    check_exposure(Settings(host=host))


@pytest.mark.parametrize(
    "settings",
    [
        {"jwt_secret": SECRET},
        {"jwt_secret_file": "secret"},
        {"jwt_key": ("key.pem",)},
        {"jwks": ("https://keys.example/",)},
        {"access_callback": "https://app.example/"},
        {"allow_anonymous": True},
    ],
)
def test_others_are_served_with_a_key_or_a_callback_or_when_one_says_so(settings: dict[str, Any]) -> None:
    check_exposure(Settings(host="0.0.0.0", **settings))  # noqa: S104 - that is what is asked


def test_a_secret_that_can_be_guessed_is_for_this_machine_alone() -> None:
    check_exposure(Settings(host="127.0.0.1", jwt_secret="x" * 31))
    for elsewhere in ({}, {"allow_anonymous": True}):
        with pytest.raises(ConfigError, match="jwt_secret has 31 bytes, and HS256 needs 32 or more"):
            check_exposure(Settings(host="0.0.0.0", jwt_secret="x" * 31, **elsewhere))  # noqa: S104


async def test_a_short_secret_checks_tokens_on_this_machine(make: Make) -> None:
    access = make(jwt_secret="guess me")
    await access.open()
    token = issue(Settings(jwt_secret="guess me"), claims(exp=NOW_MS // 1000 + 60, rooms={"a": "editor"}))
    assert (await access.gatekeeper.admit(token, "a", HERE)).role is Role.EDITOR
    with pytest.raises(NotAuthenticatedError):
        await access.gatekeeper.admit(None, "a", HERE)


async def test_anybody_may_be_let_in_with_a_role(make: Make) -> None:
    for name in RoleName:
        gatekeeper = make(allow_anonymous=True, anonymous_role=name).gatekeeper
        for caller in (HERE, AWAY):
            admission = await gatekeeper.admit("x", "a", caller)
            assert admission == await gatekeeper.admit_everywhere(None, caller)
            assert (admission.identity, admission.role) == (ANONYMOUS, Role[name.name])
            roots = frozenset({"comments"}) if name is RoleName.COMMENTER else None
            assert admission.writable_roots == roots
    assert (await make(allow_anonymous=True).gatekeeper.admit(None, "a", AWAY)).role is Role.EDITOR


async def test_the_open_gatekeeper_asks_nothing() -> None:
    assert (await OpenGatekeeper().admit(None, "a", AWAY)).role is Role.OWNER


# -- with keys


async def test_keys_from_all_sources_hold_at_once(make: Make, tmp_path: Path, world: World) -> None:
    (tmp_path / "secret").write_text(OTHER_SECRET + "\n")
    (tmp_path / "rsa.pem").write_bytes(rsa_key().pem)
    (tmp_path / "ed.pem").write_bytes(ed_key().pem)
    (tmp_path / "set.json").write_bytes(key_set(ec_key().named("file")))
    async with web_stub(reply(key_set(rsa_key(1).named("url")))) as stub:
        access = make(
            jwt_secret=SECRET,
            jwt_secret_file=tmp_path / "secret",
            jwt_key=(str(tmp_path / "rsa.pem"), str(tmp_path / "ed.pem")),
            jwks=(str(tmp_path / "set.json"), f"{stub.url}/jwks"),
        )
        await access.open()
    assert world.metrics.registry.get_sample_value("collab_keys") == 6
    for key in (
        secret(),
        secret(OTHER_SECRET),
        rsa_key(),
        ed_key(),
        ec_key().named("file"),
        rsa_key(1).named("url"),
    ):
        admission = await access.gatekeeper.admit(granted(key), "trip-1", AWAY)
        assert (admission.identity.user_id, admission.role) == ("ada", Role.EDITOR)
    with pytest.raises(NotAuthenticatedError):
        await access.gatekeeper.admit(granted(rsa_key(2)), "trip-1", AWAY)
    assert world.outcomes() == {"admitted": 6, "unauthenticated": 1}


async def test_loopback_needs_a_token_too_where_there_are_keys(make: Make) -> None:
    gatekeeper = make(jwt_secret=SECRET).gatekeeper
    assert not gatekeeper.admits_anonymous
    for token in (None, ""):
        with pytest.raises(NotAuthenticatedError, match="a token is needed"):
            await gatekeeper.admit(token, "trip-1", HERE)


async def test_who_has_no_token_may_be_let_in_beside_keys_but_a_bad_token_is_bad(make: Make) -> None:
    gatekeeper = make(jwt_secret=SECRET, allow_anonymous=True, anonymous_role="viewer").gatekeeper
    assert gatekeeper.admits_anonymous
    assert (await gatekeeper.admit(None, "trip-1", AWAY)).role is Role.VIEWER
    assert (await gatekeeper.admit(granted(secret()), "trip-1", AWAY)).role is Role.EDITOR
    for token in ("nonsense", granted(secret(OTHER_SECRET))):
        with pytest.raises(NotAuthenticatedError):
            await gatekeeper.admit(token, "trip-1", AWAY)


async def test_a_token_is_for_the_rooms_that_it_speaks_of(make: Make, world: World) -> None:
    gatekeeper = make(jwt_secret=SECRET).gatekeeper
    token = granted(secret(), rooms={"trip-*": {"role": "editor", "roots": ["notes"]}, "*": "none"})
    admission = await gatekeeper.admit(token, "trip-1", AWAY)
    assert admission.writable_roots == frozenset({"notes"})
    for room in ("other", "Trip-1", "../trip-1"):
        with pytest.raises(RefusedError):
            await gatekeeper.admit(token, room, AWAY)
    with pytest.raises(RefusedError):
        await gatekeeper.admit_everywhere(token, AWAY)
    assert (
        await gatekeeper.admit_everywhere(granted(secret(), rooms={"*": "owner"}), AWAY)
    ).role is Role.OWNER
    with pytest.raises(RefusedError):
        await gatekeeper.admit_everywhere(granted(secret(), rooms={r"\*": "owner"}), AWAY)
    with pytest.raises(NotAuthenticatedError, match="not understood"):
        await gatekeeper.admit(granted(secret(), rooms={"trip-1": "admin"}), "trip-1", AWAY)
    with pytest.raises(RefusedError):
        await gatekeeper.admit(granted(secret(), rooms=None), "trip-1", AWAY)


async def test_a_token_that_is_too_long_is_not_looked_at(make: Make) -> None:
    gatekeeper = make(jwt_secret=SECRET, token_bytes_max=512).gatekeeper
    await gatekeeper.admit(granted(secret()), "trip-1", AWAY)
    for token in (granted(secret(), name="x" * 250), "\u00e9" * 300):
        with pytest.raises(NotAuthenticatedError, match="longer than 512 bytes"):
            await gatekeeper.admit(token, "trip-1", AWAY)


async def test_what_was_revoked_is_asked_at_each_admission(make: Make, world: World) -> None:
    gatekeeper = make(jwt_secret=SECRET).gatekeeper
    token = granted(secret(), sid="s")
    await gatekeeper.admit(token, "trip-1", AWAY)
    world.revocations.add(Held(None, None, "trip-1", NOW_MS, NOW_MS * 2))
    with pytest.raises(NotAuthenticatedError, match="revoked"):
        await gatekeeper.admit(token, "trip-1", AWAY)
    await gatekeeper.admit(token, "trip-2", AWAY)
    # A token that hides who it is for, and since when, is older than any revocation.
    with pytest.raises(NotAuthenticatedError, match="revoked"):
        await gatekeeper.admit(
            secret().sign({"exp": NOW_MS // 1000 + 9, "rooms": {"*": "owner"}}), "trip-1", AWAY
        )


# -- key servers


async def test_a_server_starts_while_its_key_server_is_away_and_says_so(make: Make, world: World) -> None:
    async with web_stub() as stub:
        url = stub.url
    access = make(jwks=(url.replace("http://", "http://me:s3cr3t@"),), jwt_secret=SECRET)
    await access.open()
    assert access.trouble is not None
    assert "s3cr3t" not in access.trouble
    token = granted(rsa_key().named("r"))
    with pytest.raises(BusyError):
        await access.gatekeeper.admit(token, "trip-1", AWAY)
    await access.gatekeeper.admit(granted(secret()), "trip-1", AWAY)
    async with web_stub(reply(key_set(rsa_key().named("r"))), port=int(url.rpartition(":")[2])):
        world.now = 10
        await access.gatekeeper.admit(token, "trip-1", AWAY)
    assert access.trouble is None


async def test_a_rotated_key_is_found_when_a_token_names_it(make: Make, world: World) -> None:
    old, new = rsa_key().named("old"), rsa_key(1).named("new")
    async with web_stub(reply(key_set(old))) as stub:
        access = make(jwks=(stub.url,))
        await access.open()
        stub.answer = reply(key_set(old, new))
        world.now = 10
        for key in (new, old):
            await access.gatekeeper.admit(granted(key), "trip-1", AWAY)
        for _ in range(50):
            with pytest.raises(NotAuthenticatedError):
                await access.gatekeeper.admit(granted(ec_key().named("made-up")), "trip-1", AWAY)
        assert len(stub.asked) == 2


# -- mistakes


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"jwt_issuer": "us"}, "jwt_issuer is set, but there is no key"),
        ({"jwt_audience": ("us",)}, "jwt_audience is set, but there is no key"),
        ({"jwt_secret": rsa_key().pem.decode()}, "jwt_secret is a public key and no secret"),
        ({"jwt_secret_file": Path("/nowhere/secret")}, "jwt_secret_file /nowhere/secret cannot be read"),
        ({"jwt_key": ("/nowhere/key.pem",)}, "jwt_key /nowhere/key.pem cannot be read"),
        ({"jwks": ("http://keys.example/",)}, "jwks http://keys.example/ is not encrypted"),
        ({"jwks": ("file:///etc/keys",)}, "jwks file:///etc/keys must be an https:// URL"),
        ({"access_callback": "http://app.example/"}, "access_callback http://app.example/ is not encrypted"),
        ({"access_callback": "app.example/access"}, "must be an https:// URL"),
        (
            {"access_callback": "https://app.example/", "access_ca": Path("/nowhere/ca.pem")},
            "access_ca /nowhere/ca.pem cannot be used",
        ),
    ],
)
async def test_a_mistake_in_the_settings_is_one_line(make: Make, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make(**settings)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"{}", "no list of keys"), (json.dumps({"keys": []}).encode(), "0")],
)
async def test_a_file_of_keys_must_be_there_at_the_start(
    make: Make, tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "jwks.json"
    if content is not None:
        path.write_bytes(content)
    access = make(jwks=(str(path),))
    with pytest.raises(ConfigError, match="jwks .* cannot be used") as refused:  # noqa: RUF043 - a pattern
        await access.open()
    assert told in str(refused.value)
