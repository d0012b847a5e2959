"""``access/tokens``: real keys of all algorithms, and tokens that nobody should take."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from collab_server.access.keys import Algorithm, FixedKeys, Key, public_key, secret_key
from collab_server.access.tokens import TokenRules, Tokens, Verified
from collab_server.errors import BusyError, NotAuthenticatedError
from tests.support.tokens import SECRET, SigningKey, ec_key, ed_key, encoded, rsa_key, secret

NOW_S = 1_800_000_000
ALL = [secret(), rsa_key(), ec_key(), ed_key()]


def ours(key: SigningKey) -> Key:
    """What the server knows of a key."""
    if key.algorithm == "HS256":
        return secret_key(key.private.encode(), key.kid)
    return public_key(key.private.public_key(), key.kid)


def held(**more: Any) -> dict[str, Any]:
    found = {"sub": "ada", "iat": NOW_S, "exp": NOW_S + 60} | more
    return {key: value for key, value in found.items() if value is not None}


async def verify(token: str, *keys: SigningKey, **rules: Any) -> Verified:
    known = FixedKeys([ours(key) for key in keys or ALL])
    return await Tokens([known], TokenRules(**rules), wall_clock_ms=lambda: NOW_S * 1000).verify(token)


async def refusal(token: str, *keys: SigningKey, **rules: Any) -> str:
    with pytest.raises(NotAuthenticatedError) as refused:
        await verify(token, *keys, **rules)
    error: BaseException | None = refused.value
    while error is not None:
        # Neither the text nor anything behind it holds a piece of the token.
        assert not any(part and len(part) > 3 and part in str(error) for part in token.split("."))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert len(refused.value.reason.encode()) <= 123
    return refused.value.reason


# -- genuine ones


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.algorithm)
async def test_a_token_of_each_algorithm_is_taken(key: SigningKey) -> None:
    found = await verify(key.sign(held(name="Ada")))
    assert found.claims["name"] == "Ada"
    assert (found.issued_at_ms, found.expires_at_ms) == (NOW_S * 1000, (NOW_S + 60) * 1000)


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.algorithm)
async def test_a_token_is_not_taken_when_a_bit_of_it_is_another(key: SigningKey) -> None:
    head, payload, signature = key.sign(held()).split(".")
    other = encoded(held(sub="eve"))
    assert "not signed" in await refusal(f"{head}.{other}.{signature}")
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    assert "not signed" in await refusal(f"{head}.{payload}.{flipped}")
    assert "not signed" in await refusal(f"{head}.{payload}.{signature[:40]}")
    assert "not signed" in await refusal(key.sign(held()), *[one for one in ALL if one is not key])


async def test_several_keys_hold_at_once_and_a_kid_says_which_to_try() -> None:
    old, new = rsa_key().named("old"), rsa_key(1).named("new")
    for key in (old, new):
        await verify(key.sign(held()), old, new, secret())
    await verify(rsa_key(1).sign(held()), old, new)
    assert "not signed" in await refusal(rsa_key(1).named("old").sign(held()), old, new)
    # A key without an id, as from a PEM file, is tried for each.
    await verify(new.sign(held()), rsa_key(1))


# -- hostile ones

PUBLIC_PEM = rsa_key().pem


def by_hand(header: object, payload: object, sign: Any = None) -> str:
    signed = f"{encoded(header)}.{encoded(payload)}"
    return f"{signed}.{encoded(sign(signed.encode())) if sign else ''}"


def hmac_with(key: bytes) -> Any:
    return lambda signed: hmac.new(key, signed, hashlib.sha256).digest()


def attacker() -> SigningKey:
    return rsa_key(7)


SIGN = hmac_with(SECRET.encode())
HS = {"alg": "HS256", "typ": "JWT"}
DEEP = b'{"a":' * 3000 + b"1" + b"}" * 3000

HOSTILE: dict[str, str] = {
    "empty": ".",
    "two parts": "a.b",
    "four parts": secret().sign(held()) + ".a",
    "five parts, as an encrypted token": "eyJhbGciOiJkaXIifQ..a.b.c",
    "alg none": by_hand({"alg": "none"}, held()),
    "alg none with a signature": by_hand({"alg": "none"}, held(), SIGN),
    "alg None": by_hand({"alg": "None"}, held(), SIGN),
    "alg NONE": by_hand({"alg": "NONE"}, held(), SIGN),
    "alg empty": by_hand({"alg": ""}, held(), SIGN),
    "alg null": by_hand({"alg": None}, held(), SIGN),
    "no alg": by_hand({"typ": "JWT"}, held(), SIGN),
    "alg a list": by_hand({"alg": ["HS256"]}, held(), SIGN),
    "alg in lower case": by_hand({"alg": "hs256"}, held(), SIGN),
    "alg HS512": by_hand(
        {"alg": "HS512"}, held(), lambda signed: hmac.new(SECRET.encode(), signed, "sha512").digest()
    ),
    "alg twice": by_hand(b'{"alg":"HS256","alg":"none"}', held(), SIGN),
    "the public key as a secret": by_hand(HS, held(), hmac_with(PUBLIC_PEM)),
    "the public key as a secret, stripped": by_hand(HS, held(), hmac_with(PUBLIC_PEM.strip())),
    "an empty secret": by_hand(HS, held(), hmac_with(b"")),
    "the secret's signature as RS256": by_hand({"alg": "RS256"}, held(), SIGN),
    "the secret's signature as EdDSA": by_hand({"alg": "EdDSA"}, held(), SIGN),
    "its own key, jwk": attacker().sign(held(), jwk=attacker().named("mine").jwk),
    "its own key, jku": attacker().sign(held(), jku="https://evil.example/jwks.json", kid="mine"),
    "its own key, x5u": attacker().sign(held(), x5u="https://evil.example/cert.pem"),
    "its own key, x5c": attacker().sign(held(), x5c=["MIIB"]),
    "kid a path": attacker().sign(held(), kid="../../../../dev/null"),
    "kid an empty file's key": by_hand({**HS, "kid": "/dev/null"}, held(), hmac_with(b"")),
    "kid SQL": attacker().sign(held(), kid="x' UNION SELECT 'secret"),
    "kid huge": by_hand({**HS, "kid": "k" * 4000}, held(), SIGN),
    "kid a number": by_hand({**HS, "kid": 1}, held(), SIGN),
    "kid an object": by_hand({**HS, "kid": {"a": 1}}, held(), SIGN),
    "crit": by_hand({**HS, "crit": ["exp"], "exp": 1}, held(), SIGN),
    "crit empty": by_hand({**HS, "crit": []}, held(), SIGN),
    "crit of b64": by_hand({**HS, "crit": ["b64"], "b64": False}, held(), SIGN),
    "b64 without crit": by_hand({**HS, "b64": False}, held(), SIGN),
    "no signature": by_hand(HS, held()),
    "a header that is a list": by_hand([HS], held(), SIGN),
    "a header that is no JSON": by_hand(b"{", held(), SIGN),
    "a header that is no UTF-8": by_hand(b'{"alg":"HS256","x":"\xff"}', held(), SIGN),
    "a header nested deeply": by_hand(DEEP, held(), SIGN),
    "claims that are a list": by_hand(HS, [held()], SIGN),
    "claims that are a text": by_hand(HS, "ada", SIGN),
    "claims that are no JSON": by_hand(HS, b"\x00\x01", SIGN),
    "claims in UTF-16": by_hand(HS, json.dumps(held()).encode("utf-16"), SIGN),
    "claims nested deeply": by_hand(HS, DEEP, SIGN),
    "a claim twice": by_hand(HS, b'{"exp":1,"exp":1900000000}', SIGN),
    "a blank in front": " " + secret().sign(held()),
    "a line end behind": secret().sign(held()) + "\n",
    "padding": secret().sign(held()) + "=",
    "plain base64": secret().sign(held()).replace("-", "+").replace("_", "/") + "+",
    "not ASCII": secret().sign(held()) + "\u00e9",
    "a lone surrogate": secret().sign(held()) + "\ud800",
    "exp a text": by_hand(HS, held(exp=str(NOW_S + 60)), SIGN),
    "exp true": by_hand(HS, held(exp=True), SIGN),
    "exp negative": by_hand(HS, held(exp=-1), SIGN),
    "exp in milliseconds": by_hand(HS, held(exp=NOW_S * 1000), SIGN),
    "exp endless": by_hand(HS, b'{"exp":1e999}', SIGN),
    "exp Infinity": by_hand(HS, b'{"exp":Infinity}', SIGN),
    "exp NaN": by_hand(HS, b'{"exp":NaN}', SIGN),
    "exp of a thousand digits": by_hand(HS, b'{"exp":' + b"9" * 1000 + b"}", SIGN),
    "exp of five thousand digits": by_hand(HS, b'{"exp":' + b"9" * 5000 + b"}", SIGN),
    "exp a list": by_hand(HS, held(exp=[NOW_S + 60]), SIGN),
    "nbf a text": by_hand(HS, held(nbf="0"), SIGN),
    "iat a text": by_hand(HS, held(iat="0"), SIGN),
    "run out": secret().sign(held(exp=NOW_S)),
    "run out long ago": secret().sign(held(exp=1)),
    "without exp": secret().sign(held(exp=None)),
    "exp null": by_hand(HS, {"sub": "ada", "exp": None}, SIGN),
    "not valid yet": secret().sign(held(nbf=NOW_S + 1)),
    "issued in the future": secret().sign(held(iat=NOW_S + 1)),
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_token_is_refused(token: str) -> None:
    assert await refusal(token)


async def test_what_the_table_holds_is_refused_for_what_it_says() -> None:
    """A token as those in the table, with nothing wrong, is taken: they are not refused by accident."""
    assert (await verify(by_hand(HS, held(), SIGN))).claims["sub"] == "ada"
    await verify(by_hand({**HS, "kid": "k" * 512}, held(nbf=NOW_S), SIGN))
    # A genuine token may speak of addresses of keys; they are not looked at.
    await verify(secret().sign(held(), jku="https://evil.example/", x5u="https://evil.example/"))


async def test_a_weak_rsa_key_or_a_foreign_curve_is_no_key_of_ours() -> None:
    assert {Algorithm(key.algorithm) for key in ALL} == set(Algorithm)
    token = by_hand({"alg": "ES256"}, held(), lambda _: b"\0" * 64)
    assert "not signed" in await refusal(token)
    assert "not signed" in await refusal(by_hand({"alg": "ES256"}, held(), lambda _: b"\xff" * 64))


# -- what it must say


async def test_times_may_differ_by_the_clock_skew_and_no_more() -> None:
    token = secret().sign(held(exp=NOW_S - 9, iat=NOW_S + 10, nbf=NOW_S + 10))
    found = await verify(token, clock_skew_s=10)
    assert found.expires_at_ms == (NOW_S + 1) * 1000
    assert "not valid yet" in await refusal(secret().sign(held(iat=NOW_S + 11)), clock_skew_s=10)
    assert "not valid yet" in await refusal(secret().sign(held(nbf=NOW_S + 11)), clock_skew_s=10)
    assert "run out" in await refusal(secret().sign(held(exp=NOW_S - 10)), clock_skew_s=10)


async def test_a_token_that_never_runs_out_is_taken_where_that_is_allowed() -> None:
    assert "never run out" in await refusal(secret().sign(held(exp=None)))
    assert (await verify(secret().sign(held(exp=None)), exp_required=False)).expires_at_ms is None


async def test_a_token_that_does_not_say_when_it_was_issued_is_older_than_any_revocation() -> None:
    assert (await verify(secret().sign(held(iat=None)))).issued_at_ms == 0


async def test_fractions_of_seconds_are_kept() -> None:
    found = await verify(by_hand(HS, held(iat=NOW_S - 0.5, exp=NOW_S + 0.25), SIGN))
    assert (found.issued_at_ms, found.expires_at_ms) == (NOW_S * 1000 - 500, NOW_S * 1000 + 250)


@pytest.mark.parametrize(
    ("issuer", "taken"),
    [
        ("https://us.example", True),
        ("https://us.example/", False),
        (None, False),
        (["https://us.example"], False),
    ],
)
async def test_the_issuer_is_the_one_that_is_set(issuer: object, taken: bool) -> None:
    token = by_hand(HS, held(iss=issuer), SIGN)
    if taken:
        await verify(token, issuer="https://us.example")
    else:
        assert "issuer" in await refusal(token, issuer="https://us.example")
    await verify(token)


@pytest.mark.parametrize(
    ("audience", "taken"),
    [
        ("a", True),
        (["x", "b"], True),
        ("ab", False),
        ([], False),
        (None, False),
        (["x"], False),
        ([["a"]], False),
    ],
)
async def test_one_of_the_audiences_is_needed(audience: object, taken: bool) -> None:
    token = by_hand(HS, held(aud=audience), SIGN)
    if taken:
        await verify(token, audiences=frozenset({"a", "b"}))
    else:
        assert "audience" in await refusal(token, audiences=frozenset({"a", "b"}))
    await verify(token)


# -- keys that are not known


class Rotating:
    """A source that finds further keys when it looks again."""

    def __init__(self, before: list[Key], after: list[Key], *, is_complete: bool = True) -> None:
        self.keys = before
        self.is_complete = is_complete
        self.looked = 0
        self._after = after

    async def look_again(self) -> bool:
        self.looked += 1
        self.keys = self._after
        return True


def tokens_of(*sources: Any) -> Tokens:
    return Tokens(sources, TokenRules(), wall_clock_ms=lambda: NOW_S * 1000)


async def test_an_unknown_key_is_looked_for_once_also_beside_keys_without_id() -> None:
    new = rsa_key(1).named("new")
    source = Rotating([], [ours(new)])
    tokens = tokens_of(FixedKeys([ours(rsa_key())]), source)
    await tokens.verify(new.sign(held()))
    await tokens.verify(new.sign(held()))
    assert source.looked == 1


async def test_nobody_looks_for_a_key_that_is_known_but_has_not_signed() -> None:
    source = Rotating([ours(rsa_key().named("a"))], [])
    with pytest.raises(NotAuthenticatedError):
        await tokens_of(source).verify(rsa_key(1).named("a").sign(held()))
    assert source.looked == 0


async def test_while_keys_could_never_be_read_nobody_is_called_a_forger() -> None:
    source = Rotating([], [], is_complete=False)
    tokens = tokens_of(FixedKeys([ours(secret())]), source)
    await tokens.verify(secret().sign(held()))
    with pytest.raises(BusyError):
        await tokens.verify(rsa_key(1).named("new").sign(held()))
