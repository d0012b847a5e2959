"""Whatever a genuine token or an application says is understood or refused, and nothing widens a grant."""

from __future__ import annotations

import asyncio
import hmac
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collab_server.access.gatekeeper import TokenGatekeeper
from collab_server.access.grants import ROLES, ClaimsError, Grant, Grants, Pattern, grants_of
from collab_server.access.identity import Admission, Caller, Role
from collab_server.access.jwks import JwksError, parse_jwks
from collab_server.access.keys import FixedKeys, secret_key
from collab_server.access.tokens import TokenRules, Tokens
from collab_server.errors import PeerError
from tests.support.tokens import SECRET, encoded, secret

HERE = Caller("192.0.2.1", is_loopback=False)
NOW_S = 1_800_000_000

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ROOM = st.text("ab*\\", max_size=5)
ROLE = st.sampled_from([*ROLES, "admin", "OWNER", "", None, 4])
ROOTS = st.none() | st.lists(st.sampled_from(["comments", "budget", "notes"]), max_size=2)
NARROWED = st.fixed_dictionaries({"role": ROLE}, optional={"roots": ROOTS | JSON})
CLAIMS = st.fixed_dictionaries(
    {},
    optional={
        "rooms": st.dictionaries(ROOM, ROLE | NARROWED, max_size=4) | st.lists(ROOM, max_size=4) | JSON,
        "room": ROOM | JSON,
        "role": ROLE | JSON,
        "roots": ROOTS | JSON,
        "sub": st.text(max_size=5) | JSON,
        "name": JSON,
        "sid": JSON,
        "jti": JSON,
        "tenant": JSON,
        "invisible": JSON,
        "exp": st.just(NOW_S + 60) | JSON,
        "iat": st.just(NOW_S - 1) | JSON,
        "nbf": JSON,
    },
)
GRANT = st.builds(
    Grant,
    st.text("ab*", min_size=1, max_size=4).map(Pattern.parse),
    st.sampled_from([None, *Role]),
    st.none() | st.frozensets(st.sampled_from(["comments", "budget"])),
)


@given(CLAIMS, st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]), JSON, max_size=2))
def test_any_claims_of_a_genuine_token_let_in_or_are_refused_with_a_code(
    claims: dict[str, Any], header: dict[str, Any]
) -> None:
    tokens = Tokens(
        [FixedKeys([secret_key(SECRET.encode())])], TokenRules(), wall_clock_ms=lambda: NOW_S * 1000
    )
    gatekeeper = TokenGatekeeper(tokens, None)
    signed = f"{encoded({'alg': 'HS256', **header})}.{encoded(claims)}"
    signature = encoded(hmac.digest(SECRET.encode(), signed.encode(), "sha256"))
    try:
        admission = asyncio.run(gatekeeper.admit(f"{signed}.{signature}", "ab", HERE))
    except PeerError:
        return
    assert isinstance(admission, Admission)
    assert any(name in claims for name in ("rooms", "room"))


@given(st.lists(GRANT, max_size=5), st.text("ab", max_size=4))
def test_nobody_may_do_more_in_all_rooms_than_in_each(granted: list[Grant], room: str) -> None:
    grants = Grants(tuple(granted))
    everywhere = grants.everywhere()
    if everywhere is None or everywhere.role is None:
        return
    here = grants.of(room)
    assert here is not None
    assert here.role is not None
    assert everywhere.role <= here.role
    if everywhere.role > Role.VIEWER and here.writable_roots is not None:
        assert everywhere.writable_roots is not None
        assert everywhere.writable_roots <= here.writable_roots


@given(st.lists(GRANT, max_size=5), st.text("ab", min_size=1, max_size=4))
def test_an_exception_by_name_takes_a_room_away_whatever_else_is_granted(
    granted: list[Grant], room: str
) -> None:
    taken_away = Grant(Pattern.exactly(room), None)
    grants = Grants((*granted, taken_away))
    assert grants.of(room) is None
    assert grants.everywhere() is None


@given(st.lists(GRANT, max_size=5), st.text("ab", max_size=4))
def test_the_order_of_grants_does_not_matter(granted: list[Grant], room: str) -> None:
    def found(grants: list[Grant]) -> tuple[Role | None, frozenset[str] | None] | None:
        grant = Grants(tuple(grants)).of(room)
        if grant is None or grant.role is None:
            return None
        return grant.role, grant.writable_roots if grant.role > Role.VIEWER else None

    assert found(granted) == found(granted[::-1])
    assert found(granted) is None or any(grant.pattern.matches(room) for grant in granted)


@given(CLAIMS)
def test_an_answer_is_understood_or_not_and_never_breaks(claims: dict[str, Any]) -> None:
    try:
        grants = grants_of(claims, here=Pattern.exactly("ab"))
    except ClaimsError:
        return
    assert all(isinstance(grant.role, Role | None) for grant in grants.all)


@given(
    st.lists(
        JSON
        | st.dictionaries(
            st.sampled_from(["kty", "crv", "x", "y", "n", "e", "k", "kid", "use", "alg", "key_ops", "d"]),
            st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "AA", "sig", "RS256"])
            | st.binary(max_size=40).map(encoded)
            | JSON,
        ),
        max_size=3,
    )
)
def test_any_key_set_is_read_or_refused(entries: list[Any]) -> None:
    try:
        keys = parse_jwks(json.dumps({"keys": entries}).encode(), secrets_allowed=False)
    except JwksError:
        return
    assert all(not key.verifies(b"a.b", b"\0" * 64) for key in keys)


def test_the_token_of_these_tests_is_taken() -> None:
    """Otherwise the first of them would show nothing."""
    tokens = Tokens(
        [FixedKeys([secret_key(SECRET.encode())])], TokenRules(), wall_clock_ms=lambda: NOW_S * 1000
    )
    token = secret().sign({"exp": NOW_S + 60, "room": "ab", "role": "editor"})
    assert asyncio.run(TokenGatekeeper(tokens, None).admit(token, "ab", HERE)).role is Role.EDITOR
